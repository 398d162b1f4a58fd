package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"disk-mapper/disk"
	"disk-mapper/setup"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// TestHowGrowthEnded: an error of the disk is an error, also when the growth was
// ended at that moment, and the exit status with it.
func TestHowGrowthEnded(t *testing.T) {
	failed := errors.New("wiping at byte 300000000: input/output error")
	half := disk.Progress{Done: 1 << 29, Total: 1 << 30}
	for name, tc := range map[string]struct {
		begin disk.Progress
		err   error
		want  error
		says  string
	}{
		"grown":                 {half, nil, nil, "Grew the state disk to its full size"},
		"complete before":       {disk.Progress{Done: 1 << 30, Total: 1 << 30}, nil, nil, "The state disk has its full size"},
		"interrupted":           {half, fmt.Errorf("growing: %w: %w", disk.ErrInterrupted, context.Canceled), nil, "Growing the state disk was interrupted, the next start goes on"},
		"failed":                {half, failed, failed, ""},
		"failed when cancelled": {half, errors.Join(failed, context.Canceled), failed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			g := growth{begin: tc.begin, start: time.Now(), log: zap.New(core)}
			assert.ErrorIs(t, g.ended(tc.err), tc.want)
			if tc.says == "" {
				assert.Zero(t, logs.Len())
				return
			}
			assert.Equal(t, tc.says, logs.All()[0].Message)
		})
	}
}

// TestNobodyElseCanStopGrowth: whatever somebody who is not root locks, of what they
// can open, a growth starts; and the status of others takes no lock.
func TestNobodyElseCanStopGrowth(t *testing.T) {
	record := filepath.Join(t.TempDir(), "grow.json")
	r, err := startPaceRecord(record)
	require.NoError(t, err)
	require.NoError(t, r.write(setup.Pace{Rate: 1}))
	r.end()

	info, err := os.Stat(lockFile(record))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode(), "nobody but root can open it")
	others, err := os.Open(record)
	require.NoError(t, err)
	defer others.Close()
	require.NoError(t, unix.FcntlFlock(others.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK}))
	for range 2 {
		_, _, err = readPace(record)
		require.NoError(t, err)
		r, err := startPaceRecord(record)
		require.NoError(t, err)
		_, running, err := readPace(record)
		require.NoError(t, err)
		assert.True(t, running)
		_, err = startPaceRecord(record)
		assert.ErrorContains(t, err, "another disk-mapper grow runs")
		r.end()
	}
}
