package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/disk"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "4096": 4096, "3K": 3 << 10, "512M": 512 << 20, "4G": 4 << 30, "4Gi": 4 << 30, "4GiB": 4 << 30, "2T": 2 << 40, "8191P": 8191 << 50,
	} {
		var s size
		require.NoError(t, s.Set(text), text)
		assert.EqualValues(t, want, s, text)
	}
	for _, text := range []string{"", "0", "-1", "-4G", "4GB", "4g", "G", "4.5G", "4 G", "4GG", "4iB", "4i", "4B", "8192P", "0x10", "1e9", "4G\n", "9223372036854775808"} {
		var s size
		assert.ErrorContains(t, s.Set(text), "is no size: want a number of bytes", "%q", text)
		assert.Zero(t, s)
	}
	for _, args := range [][]string{{"grow", "-until", "4GB"}, {"grow", "-until", "0"}, {"grow", "--until="}, {"grow", "-until", "4G", "-until", "1G"}, {"grow", "-v", "0", "-v", "1"}, {"grow", "-until"}} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, exitUsage, run(t.Context(), args, env(nil), &stdout, &stderr), "%v", args)
	}
}

// TestAwaitRoom: somebody who waits goes on when there is the room, and not before;
// and when more will not come.
func TestAwaitRoom(t *testing.T) {
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		free    func(second int64) int64
		growth  func(second int64) disk.Progress
		err     error
		cancel  time.Duration
		seconds float64
		want    error
		says    string
		level   string
	}{
		"there already": {free: at(4 << 30), growth: grows, says: "The state disk has the room that was waited for", level: "info"},
		"it comes": {
			free: func(second int64) int64 { return second << 28 }, growth: grows, seconds: 16,
			says: "The state disk has the room that was waited for", level: "info",
		},
		"complete, and full": {
			free: at(1 << 30), growth: func(int64) disk.Progress { return disk.Progress{Done: 30 << 30, Total: 30 << 30} },
			says: "The state disk has its full size, and less room than was waited for", level: "warn",
		},
		"complete after a while": {
			free: at(1 << 30), growth: func(second int64) disk.Progress { return disk.Progress{Done: min(30, second) << 30, Total: 30 << 30} }, seconds: 30,
			says: "The state disk has its full size, and less room than was waited for", level: "warn",
		},
		"ended":   {free: at(1 << 30), growth: grows, cancel: 7 * time.Second, seconds: 7, want: context.Canceled, says: "Waiting for room on the state disk", level: "info"},
		"no disk": {free: at(0), growth: grows, err: broken, want: broken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.cancel > 0 {
					time.AfterFunc(tc.cancel, cancel)
				}
				began := time.Now()
				look := func() (int64, disk.Progress, error) {
					second := int64(time.Since(began) / time.Second)
					return tc.free(second), tc.growth(second), tc.err
				}
				core, logs := observer.New(zap.InfoLevel)
				err := awaitRoom(ctx, 4<<30, look, func(string) {}, zap.New(core))
				assert.ErrorIs(t, err, tc.want)
				assert.InDelta(t, tc.seconds, time.Since(began).Seconds(), 0.6)
				if tc.says == "" {
					assert.Zero(t, logs.Len())
					return
				}
				last := logs.All()[logs.Len()-1]
				assert.Equal(t, tc.says, last.Message)
				assert.Equal(t, tc.level, last.Level.String())
				assert.LessOrEqual(t, logs.Len(), 3, "not a line each time it looks")
			})
		})
	}
}

func at(bytes int64) func(int64) int64 { return func(int64) int64 { return bytes } }

func grows(int64) disk.Progress { return disk.Progress{Done: 1 << 30, Total: 30 << 30} }
