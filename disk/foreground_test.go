package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// device is a device's counters in sysfs, in bytes, and its file system.
type device struct {
	path          string
	read, written int64
	room          room
}

func (d *device) use(t *testing.T, read, written int64) {
	t.Helper()
	d.read, d.written = d.read+read, d.written+written
	line := fmt.Sprintf("  10 0 %d 5   20 0 %d 7 0 12 12 0 0 0 0 3 1\n", d.read/512, d.written/512)
	require.NoError(t, os.WriteFile(d.path+".new", []byte(line), 0o600))
	require.NoError(t, os.Rename(d.path+".new", d.path)) // whole, for who reads it meanwhile
}

// foreground has seen what the device was used for until now.
func (d *device) foreground(t *testing.T) *foreground {
	t.Helper()
	f := &foreground{stat: d.path, room: func() (room, error) { return d.room, nil }, alone: strideAlone}
	require.NoError(t, f.forget())
	return f
}

func newDevice(t *testing.T) *device {
	t.Helper()
	d := &device{path: filepath.Join(t.TempDir(), "stat"), room: room{free: gib, used: gib}}
	d.use(t, 100, 200)
	return d
}

func TestGrowthYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t)
		f := d.foreground(t)
		rested := func(took time.Duration) time.Duration {
			t.Helper()
			began := time.Now()
			require.NoError(t, f.yield(t.Context(), strideAlone, took, 100*strideAlone))
			return time.Since(began)
		}
		const own = strideAlone

		d.use(t, 0, own)
		assert.Zero(t, rested(time.Second), "alone")
		assert.EqualValues(t, strideAlone, f.stride())
		d.use(t, 0, own+4096)
		assert.Equal(t, 400*time.Millisecond, rested(100*time.Millisecond), "somebody wrote 4 KiB")
		d.use(t, 4096, own)
		assert.Equal(t, 40*time.Millisecond, rested(10*time.Millisecond), "somebody read")
		assert.EqualValues(t, strideShared, f.stride())
		d.use(t, 0, own)
		assert.Equal(t, 40*time.Millisecond, rested(10*time.Millisecond), "just before, somebody read")
		d.use(t, 4096, own)
		assert.Equal(t, maxRest, rested(time.Minute), "a device that hangs")
		time.Sleep(time.Second)
		d.use(t, 0, own)
		assert.Zero(t, rested(time.Second), "alone again")
		d.use(t, 0, 1<<20)
		require.NoError(t, f.forget())
		d.use(t, 0, own)
		assert.Zero(t, rested(time.Second), "what the growth itself wrote does not count")

		d.room.free = 20 * mib
		d.use(t, 0, own+4096)
		assert.Equal(t, 400*time.Millisecond, rested(100*time.Millisecond), "little room, which nobody uses up")

		require.NoError(t, os.WriteFile(d.path, []byte("1 2\n"), 0o600))
		assert.ErrorContains(t, f.yield(t.Context(), 1, 0, 0), d.path)
		require.NoError(t, os.Remove(d.path))
		assert.ErrorIs(t, f.yield(t.Context(), 1, 0, 0), os.ErrNotExist)
		d.use(t, 0, 0)
		broken := errors.New("broken")
		f.room = func() (room, error) { return room{}, broken }
		assert.ErrorIs(t, f.yield(t.Context(), 1, 0, 0), broken)
	})
}

// TestGrowthStaysAhead: what others write in a second decides how long Grow rests,
// and what they have left. None of them is without protection: a stride is short
// whenever they are there.
func TestGrowthStaysAhead(t *testing.T) {
	for name, tc := range map[string]struct {
		free, perSecond int64
		left            int64 // of the step, of which 1 MiB takes 10 ms
		want            time.Duration
	}{
		"etcd, with much room":          {10 * gib, mib, 512 * mib, 40 * time.Millisecond},
		"etcd on a new disk":            {170 * mib, mib, 32 * mib, 40 * time.Millisecond},
		"a tenth of the wipe":           {170 * mib, 10 * mib, 32 * mib, 88 * time.Millisecond / 10},
		"half of it":                    {170 * mib, 50 * mib, 32 * mib, 0},
		"half of it, and a long step":   {170 * mib, 50 * mib, 128 * mib, 0},
		"half of it, with much room":    {4 * gib, 50 * mib, 512 * mib, 0},
		"half of it, with nearly none":  {20 * mib, 50 * mib, 16 * mib, 0},
		"more than the wipe can":        {170 * mib, 400 * mib, 32 * mib, 0},
		"somebody frees what they have": {20 * mib, -10 * mib, 32 * mib, 40 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice(t)
				d.room.free = tc.free
				f := d.foreground(t)
				f.begin(tc.free, max(tc.left, 16*mib))
				d.use(t, 0, strideShared+4096)
				require.NoError(t, f.yield(t.Context(), strideShared, 0, strideShared))
				time.Sleep(time.Second)
				d.room.used += tc.perSecond
				d.room.free -= tc.perSecond
				d.use(t, 0, strideShared+4096)
				began := time.Now()
				require.NoError(t, f.yield(t.Context(), strideShared, 10*time.Millisecond, tc.left))
				assert.InDelta(t, tc.want, time.Since(began), float64(2*time.Millisecond))
				stride := int64(strideShared)
				if tc.want == 0 {
					stride = strideHurry
				}
				assert.Equal(t, stride, f.stride())
			})
		})
	}
}

// TestBurstIsRemembered: a rate counts at once, and for seconds.
func TestBurstIsRemembered(t *testing.T) {
	var c consumption
	at := time.Unix(1000, 0)
	c.see(0, at)
	assert.Zero(t, c.rate)
	c.see(100*mib, at.Add(time.Millisecond))
	assert.Zero(t, c.rate, "too early to tell")
	c.see(100*mib, at.Add(500*time.Millisecond))
	assert.InDelta(t, 200*mib, c.rate, 1)
	for second := range 20 {
		c.see(100*mib, at.Add(time.Duration(second+1)*time.Second))
		if second == 3 {
			assert.Greater(t, c.rate, float64(80*mib))
		}
	}
	assert.Less(t, c.rate, float64(10*mib))
	c.see(0, at.Add(time.Minute))
	assert.GreaterOrEqual(t, c.rate, 0.0)
}

// TestTablesAreNobodyElse: after a step the kernel writes tables of inodes, 2 MiB
// for each new block group. Grow does not yield to that, but to a smaller write, to
// a read, and to more than that.
func TestTablesAreNobodyElse(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to      int64
		read, written int64
		want          bool
	}{
		"a table":                     {256 * mib, 384 * mib, 0, 2 * mib, false},
		"part of a table":             {256 * mib, 384 * mib, 0, 512 << 10, false},
		"two tables":                  {256 * mib, 400 * mib, 0, 4 * mib, false},
		"a small write":               {256 * mib, 384 * mib, 0, 16 << 10, true},
		"a table, and somebody reads": {256 * mib, 384 * mib, 4096, 2 * mib, true},
		"no new group":                {272 * mib, 384 * mib, 0, 2 * mib, true},
		"nothing":                     {256 * mib, 384 * mib, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice(t)
				f := d.foreground(t)
				require.NoError(t, f.grew(tc.from, tc.to))
				d.use(t, tc.read, strideAlone+tc.written)
				require.NoError(t, f.look(strideAlone))
				assert.Equal(t, tc.want, f.busy())
			})
		})
	}
	t.Run("more than its tables", func(t *testing.T) {
		d := newDevice(t)
		f := d.foreground(t)
		require.NoError(t, f.grew(256*mib, 512*mib))
		for i, busy := range []bool{false, false, true} {
			d.use(t, 0, strideAlone+2*mib)
			require.NoError(t, f.look(strideAlone))
			assert.Equal(t, busy, f.busy(), "table %d", i)
		}
	})
}

// TestRoom: a file system is full when it has no block left, or no inode.
func TestRoom(t *testing.T) {
	s := unix.Statfs_t{Bsize: 4096, Blocks: 1000, Bfree: 600, Bavail: 500, Files: 250, Ffree: 240}
	assert.Equal(t, room{free: 500 * 4096, used: 400*4096 + 10*16384}, newRoom(s))
	s.Ffree = 3
	assert.Equal(t, room{free: 3 * 16384, used: 400*4096 + 247*16384}, newRoom(s), "many small files")
	s.Bavail = 0
	assert.Zero(t, newRoom(s).free)
	_, err := Free(filepath.Join(t.TempDir(), "nothing"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
