package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sharedDisk is a disk that Grow and somebody else use in turns, with a file system
// that grows. It does one thing at a time, at a rate.
type sharedDisk struct {
	turn      chan struct{}
	perSecond float64

	mu     sync.Mutex // for what is below
	device *device
	busy   time.Duration // with what Grow wipes
}

// io takes its turn and the time for so many bytes, and returns how long both took.
func (s *sharedDisk) io(t *testing.T, bytes int64, ours bool) time.Duration {
	began := time.Now()
	s.turn <- struct{}{}
	took := time.Duration(float64(bytes) / s.perSecond * float64(time.Second))
	time.Sleep(took)
	s.mu.Lock()
	s.device.use(t, 0, bytes)
	if ours {
		s.busy += took
	} else {
		s.device.room.used += bytes
		s.device.room.free -= bytes
	}
	s.mu.Unlock()
	<-s.turn
	return time.Since(began)
}

// simulate grows a new disk for a while, beside somebody else.
func simulate(t *testing.T, size int64, perSecond float64, lasts time.Duration, other func(context.Context, *sharedDisk) error) *sharedDisk {
	t.Helper()
	s := &sharedDisk{turn: make(chan struct{}, 1), perSecond: perSecond, device: newDevice(t)}
	first := layout{size}.region(int64(perSecond * firstRegionTime.Seconds()))
	s.device.room = room{free: first*97/100 - 78*mib}
	z := &zeroes{before: func(part span) error { s.io(t, part.size(), true); return nil }}
	g := newGrower(t, z)
	g.layout = layout{size}
	truncate(t, g.mapping, size)
	at := first
	setBlocks(t, g.mapping, uint32(at/blockSize))
	g.others = s.device.foreground(t)
	g.others.room = func() (room, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.device.room, nil
	}
	g.resize = func(to int64) error {
		s.mu.Lock()
		s.device.room.free += (to - at) * 97 / 100 // tables take the rest
		s.mu.Unlock()
		setBlocks(t, g.mapping, uint32(to/blockSize))
		at = to
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	grown := make(chan error, 1)
	go func() { grown <- g.run(ctx, at, func(Progress) {}) }()
	assert.NoError(t, other(ctx, s))
	cancel()
	if err := <-grown; !errors.Is(err, ErrInterrupted) {
		require.NoError(t, err)
	}
	return s
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	require.NoError(t, os.Truncate(path, size))
}

// TestWritersHaveRoom: whoever writes from the first moment on, and waits until it is
// written, never meets a full file system, whatever they write in a second.
func TestWritersHaveRoom(t *testing.T) {
	for _, size := range []int64{30 * gib, tib} {
		for _, rate := range []int64{50, 300} {
			for _, percent := range []int64{25, 50, 100} {
				t.Run(fmt.Sprintf("%d GiB, %d MiB/s, %d%%", size/gib, rate, percent), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						simulate(t, size, float64(rate*mib), time.Duration(1500/rate)*time.Second, func(ctx context.Context, s *sharedDisk) error {
							return s.write(ctx, t, float64(rate*mib*percent)/100)
						})
					})
				})
			}
		}
	}
}

// write writes 1 MiB at a time.
func (s *sharedDisk) write(ctx context.Context, t *testing.T, perSecond float64) error {
	began, done := time.Now(), int64(0)
	for ctx.Err() == nil {
		s.mu.Lock()
		free := s.device.room.free
		s.mu.Unlock()
		if free < mib {
			return fmt.Errorf("no space left after %d MiB", done/mib)
		}
		s.io(t, mib, false)
		done += mib
		time.Sleep(time.Until(began.Add(time.Duration(float64(done) / perSecond * float64(time.Second)))))
	}
	return nil
}

// TestOthersAreProtected: somebody who writes little, on a file system of 256 MiB,
// waits behind no more than one stride, and has four fifths of the disk's time.
func TestOthersAreProtected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 50 << 20
		var longest time.Duration
		s := simulate(t, tib, rate, 20*time.Second, func(ctx context.Context, s *sharedDisk) error {
			for began := time.Now(); ctx.Err() == nil; {
				took := s.io(t, 4096, false)
				if time.Since(began) > 200*time.Millisecond { // until then, it is not seen
					longest = max(longest, took)
				}
				time.Sleep(5 * time.Millisecond)
			}
			return nil
		})
		assert.LessOrEqual(t, longest, time.Second*strideShared/rate+time.Millisecond)
		assert.LessOrEqual(t, s.busy, 4*time.Second+100*time.Millisecond, "of 20")
		assert.GreaterOrEqual(t, s.busy, 3*time.Second, "but it goes on")
	})
}
