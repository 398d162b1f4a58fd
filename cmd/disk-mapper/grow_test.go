package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"disk-mapper/disk"
	"disk-mapper/setup"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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
	if os.Getuid() != 0 {
		t.Skip("needs root, to become nobody")
	}
	dir, err := os.MkdirTemp("/tmp", "growth")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	record := filepath.Join(dir, "grow.json")
	r, err := startPaceRecord(record)
	require.NoError(t, err)
	require.NoError(t, r.write(setup.Pace{Rate: 1}))
	r.end()

	files, err := filepath.Glob(dir + "/*")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, path := range files {
		// It says so once it has opened and locked the file, or could not.
		cmd := exec.CommandContext(t.Context(), "flock", "-s", path, "sh", "-c", "echo locked; cat")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		said, _ := bufio.NewReader(out).ReadString('\n')
		assert.Equal(t, path == record, said == "locked\n", "%s: %q", path, said)
		for range 2 {
			_, _, err = readPace(record)
			require.NoError(t, err)
			r, err := startPaceRecord(record)
			require.NoError(t, err, "while somebody has %s", path)
			_, running, err := readPace(record)
			require.NoError(t, err)
			assert.True(t, running)
			_, err = startPaceRecord(record)
			assert.ErrorContains(t, err, "another disk-mapper grow runs")
			r.end()
		}
		_ = in.Close()
		_ = cmd.Wait()
	}
}
