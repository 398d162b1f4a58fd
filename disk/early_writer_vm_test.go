//go:build vm

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wipeRate is how fast Grow wipes a disk that nobody else uses, in bytes per second.
func wipeRate(t *testing.T, path string) float64 {
	t.Helper()
	m := makeDisk(t, path, "rate", FirstRegion)
	defer m.unmount(t)
	before, err := Growth(m.mapping)
	require.NoError(t, err)
	began := time.Now()
	m.grow(t, more(t, m, 256*mib))
	after, err := Growth(m.mapping)
	require.NoError(t, err)
	return float64(after.Done-before.Done) / time.Since(began).Seconds()
}

// earlyWriter begins to write when a new disk begins to grow.
type earlyWriter struct {
	perSecond float64 // bytes, as an average from the begin on; 0 for as fast as it goes
	most      int64   // bytes
	lasts     time.Duration
}

type written struct {
	bytes int64
	took  time.Duration
	err   error
}

// write appends to files, and waits every 4 MiB until that is safe.
func (w earlyWriter) write(dir string) (done written) {
	began := time.Now()
	defer func() { done.took = time.Since(began) }()
	f, err := os.Create(filepath.Join(dir, "early"))
	if err != nil {
		return written{err: err}
	}
	defer f.Close()
	block := make([]byte, mib)
	for done.bytes < w.most && time.Since(began) < w.lasts {
		if _, done.err = f.Write(block); done.err != nil {
			return done
		}
		if done.bytes += mib; done.bytes%(4*mib) == 0 {
			if done.err = f.Sync(); done.err != nil {
				return done
			}
		}
		if w.perSecond > 0 {
			due := began.Add(time.Duration(float64(done.bytes) / w.perSecond * float64(time.Second)))
			time.Sleep(time.Until(due)) // this is its rate
		}
	}
	done.err = f.Sync()
	return done
}

// during has the writer write while the disk grows, from the first moment on.
func (w earlyWriter) during(t *testing.T, path string) (done written, grown int64) {
	t.Helper()
	m := makeDisk(t, path, "early", FirstRegion)
	before, err := Growth(m.mapping)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Grow(ctx, m.mapping, m.dir, func(Progress) {}) }()
	done = w.write(m.dir)
	cancel()
	if err := <-ended; !errors.Is(err, ErrInterrupted) {
		require.NoError(t, err)
	}
	after, err := Growth(m.mapping)
	require.NoError(t, err)
	m.unmount(t)
	return done, after.Done - before.Done
}

func (w written) String() string {
	end := "no error"
	if w.err != nil {
		end = w.err.Error()
	}
	return fmt.Sprintf("%d MiB in %.0f s, %.1f MiB/s, %s", w.bytes/mib, w.took.Seconds(), float64(w.bytes)/float64(mib)/w.took.Seconds(), end)
}

// TestFreshEarlyWriter: somebody who writes half as fast as the disk can be wiped,
// from the first moment on, and four times what is free then, has room all the time.
// The other shares and disks are measured by make bench.
func TestFreshEarlyWriter(t *testing.T) {
	newDiskGuestOnly(t)
	rate := wipeRate(t, newDisks[9].path)
	done, grown := earlyWriter{perSecond: rate / 2, most: 700 * mib, lasts: 90 * time.Second}.during(t, newDisks[6].path)
	t.Logf("wipe %.1f MiB/s; half of it: %v; grown by %d MiB", rate/float64(mib), done, grown/mib)
	assert.NoError(t, done.err)
	assert.Greater(t, done.bytes, 300*mib)
	assert.Greater(t, grown, int64(0))
}
