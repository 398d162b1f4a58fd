package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// device is a device's counters in sysfs, in sectors.
type device struct {
	path          string
	read, written int64
}

func (d *device) use(t *testing.T, read, written int64) {
	t.Helper()
	d.read, d.written = d.read+read, d.written+written
	line := fmt.Sprintf("  10 0 %d 5   20 0 %d 7 0 12 12 0 0 0 0 3 1\n", d.read, d.written)
	require.NoError(t, os.WriteFile(d.path, []byte(line), 0o600))
}

func TestGrowthYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{path: filepath.Join(t.TempDir(), "stat")}
		d.use(t, 100, 200)
		f := &foreground{stat: d.path, dir: t.TempDir()}
		require.NoError(t, f.forget())
		rested := func(took time.Duration) time.Duration {
			began := time.Now()
			require.NoError(t, f.yield(t.Context(), strideAlone, took))
			return time.Since(began)
		}
		const own = strideAlone / 512

		d.use(t, 0, own)
		assert.Zero(t, rested(time.Second), "alone")
		assert.EqualValues(t, strideAlone, f.stride())
		d.use(t, 0, own+8)
		assert.Equal(t, 400*time.Millisecond, rested(100*time.Millisecond), "somebody wrote 4 KiB")
		d.use(t, 8, own)
		assert.Equal(t, 40*time.Millisecond, rested(10*time.Millisecond), "somebody read")
		assert.EqualValues(t, strideShared, f.stride())
		d.use(t, 0, own)
		assert.Equal(t, 40*time.Millisecond, rested(10*time.Millisecond), "just before, somebody read")
		d.use(t, 8, own)
		assert.Equal(t, maxRest, rested(time.Minute), "a device that hangs")
		time.Sleep(time.Second)
		d.use(t, 0, own)
		assert.Zero(t, rested(time.Second), "alone again")
		d.use(t, 0, 1000)
		require.NoError(t, f.forget())
		d.use(t, 0, own)
		assert.Zero(t, rested(time.Second), "what the growth itself wrote does not count")

		f.hurry = 1 << 62
		d.use(t, 0, own+8)
		assert.Zero(t, rested(time.Second), "the file system is nearly full")

		require.NoError(t, os.WriteFile(d.path, []byte("1 2\n"), 0o600))
		assert.ErrorContains(t, f.yield(t.Context(), 0, 0), d.path)
		require.NoError(t, os.Remove(d.path))
		assert.ErrorIs(t, f.yield(t.Context(), 0, 0), os.ErrNotExist)
	})
}
