package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// zeroes remembers what was wiped, which takes it a time for each MiB.
type zeroes struct {
	all      []span
	perMiB   time.Duration
	before   func(span) error
	synced   error
	syncedAt int // how much was wiped then
}

func (z *zeroes) wipe(_ context.Context, s span, wrote func(int64)) error {
	if z.before != nil {
		if err := z.before(s); err != nil {
			return err
		}
	}
	time.Sleep(z.perMiB * time.Duration(s.size()) / time.Duration(mib))
	z.all = append(z.all, s)
	wrote(s.size())
	return nil
}

func (z *zeroes) sync() error {
	z.syncedAt = len(z.all)
	return z.synced
}

// setBlocks changes the size of a file's file system.
func setBlocks(t *testing.T, path string, blocks uint32) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(binary.LittleEndian.AppendUint32(nil, blocks), ext4Superblock+ext4BlocksLow)
	require.NoError(t, err)
}

// newGrower grows a file system of 512 MiB on a file of 1 GiB, in which resize does
// what the kernel does to the superblock.
func newGrower(t *testing.T, z *zeroes) grower {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	content := make([]byte, 4096)
	copy(content[ext4Superblock:], ext4())
	require.NoError(t, os.WriteFile(path, content, 0o600))
	require.NoError(t, os.Truncate(path, gib))
	resize := func(size int64) error { setBlocks(t, path, uint32(size/blockSize)); return nil }
	return grower{zeroer: z, layout: layout{gib}, mapping: path, others: newDevice(t).foreground(t), resize: resize}
}

// TestGrowthWipesFirst: nothing is grown over that was not wiped before, and at the
// end all is wiped once.
func TestGrowthWipesFirst(t *testing.T) {
	z := &zeroes{}
	g := newGrower(t, z)
	synced, resize := int64(0), g.resize
	g.resize = func(size int64) error {
		assert.Equal(t, size, z.all[len(z.all)-1].to)
		assert.Equal(t, len(z.all), z.syncedAt, "what is wiped is safe")
		synced = size
		return resize(size)
	}
	var reported []int64
	require.NoError(t, g.run(t.Context(), 512*mib, func(p Progress) {
		assert.Equal(t, gib, p.Total)
		reported = append(reported, p.Done)
	}))
	assert.Equal(t, gib, synced)
	assert.Equal(t, 512*mib, reported[0])
	assert.Equal(t, gib, reported[len(reported)-1])
	wiped(t, z.all, span{512 * mib, gib})
}

// TestGrowthLooksForOtherResizers: nothing is wiped once somebody else has changed
// the size of the file system, within a step and between two.
func TestGrowthLooksForOtherResizers(t *testing.T) {
	for name, tc := range map[string]struct {
		at   int64 // where Grow has come to when the size changes
		want int
	}{
		"before anything": {512 * mib, 1},
		"within a step":   {520 * mib, 3},
	} {
		t.Run(name, func(t *testing.T) {
			z := &zeroes{}
			g := newGrower(t, z)
			z.before = func(s span) error {
				if s.from == tc.at {
					setBlocks(t, g.mapping, 200_000)
				}
				return nil
			}
			_, err := g.step(t.Context(), 512*mib)
			assert.ErrorContains(t, err, "somebody else changed the size of the file system, from 536870912 to 819200000 bytes")
			assert.Len(t, z.all, tc.want, "of the stride that was under way, no more")
		})
	}
	t.Run("since it was measured", func(t *testing.T) {
		z := &zeroes{}
		g := newGrower(t, z)
		setBlocks(t, g.mapping, 200_000)
		assert.ErrorContains(t, g.run(t.Context(), 512*mib, func(Progress) {}), "somebody else changed the size")
		assert.Empty(t, z.all)
	})
}

// TestInterruptedGrowth: a growth that is ended is interrupted only if nothing has
// failed. Only what was wiped is grown over, if that is worth it.
func TestInterruptedGrowth(t *testing.T) {
	failed := errors.New("input/output error")
	for name, tc := range map[string]struct {
		cancelAt    int64
		wipe        error
		synced      error
		resized     error
		interrupted bool
		want        error
	}{
		"interrupted before anything":                 {0, nil, nil, nil, true, context.Canceled},
		"interrupted":                                 {512 * mib, nil, nil, nil, true, context.Canceled},
		"interrupted, and what is done is grown over": {536 * mib, nil, nil, nil, true, context.Canceled},
		"nothing that is worth growing over":          {516 * mib, nil, nil, nil, true, context.Canceled},
		"the kernel refuses to grow over the rest":    {536 * mib, nil, nil, failed, false, failed},
		"the wipe fails at that moment":               {512 * mib, failed, nil, nil, false, failed},
		"the sync of what is done fails":              {536 * mib, nil, failed, nil, false, failed},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			z := &zeroes{synced: tc.synced}
			g := newGrower(t, z)
			grown, resize := int64(0), g.resize
			g.resize = func(size int64) error {
				grown = size
				if tc.resized != nil {
					return tc.resized
				}
				return resize(size)
			}
			z.before = func(s span) error {
				if s.from >= tc.cancelAt && s.from < gib-32*mib {
					cancel()
					return tc.wipe
				}
				return nil
			}
			if tc.cancelAt == 0 {
				cancel()
			}
			err := g.run(ctx, 512*mib, func(Progress) {})
			assert.ErrorIs(t, err, tc.want)
			assert.Equal(t, tc.interrupted, errors.Is(err, ErrInterrupted), "%v", err)
			var want, reached int64
			if len(z.all) > 0 && tc.synced == nil {
				reached = z.all[len(z.all)-1].to / worthGrowing * worthGrowing
			}
			if reached > 512*mib {
				want = reached
			}
			assert.Equal(t, want, grown)
		})
	}
}

// TestForbiddenGrowth: of what the kernel calls not permitted, the reason.
func TestForbiddenGrowth(t *testing.T) {
	for want, err := range map[string]error{
		"CAP_SYS_RESOURCE, as the unit": explainForbidden(false, false),
		"needs CAP_SYS_RESOURCE, as":    explainForbidden(false, true),
		"recorded errors, see dmesg":    explainForbidden(true, true),
		"neither a missing":             explainForbidden(true, false),
	} {
		assert.ErrorContains(t, err, want)
		assert.ErrorIs(t, err, unix.EPERM)
	}
	raw := ext4()
	assert.False(t, hasErrors(raw))
	raw[ext4State] = 1
	assert.False(t, hasErrors(raw), "mounted cleanly")
	raw[ext4State] = 3
	assert.True(t, hasErrors(raw))
}

// TestFirstRegion: as much as four seconds give, within its bounds, in whole block
// groups, and then the end of the device.
func TestFirstRegion(t *testing.T) {
	for name, tc := range map[string]struct {
		size   int64
		perMiB time.Duration
		want   int64
		atMost time.Duration
	}{
		"a slow disk":    {tib, 40 * time.Millisecond, 256 * mib, 11 * time.Second},
		"100 MiB/s":      {tib, 10 * time.Millisecond, 384 * mib, 4100 * time.Millisecond},
		"1 GiB/s":        {tib, time.Millisecond, 3968 * mib, 4100 * time.Millisecond},
		"10 GiB/s":       {tib, 100 * time.Microsecond, 8 * gib, 1 * time.Second},
		"no time at all": {tib, 0, 8 * gib, 0},
		"a small disk":   {400 * mib, time.Millisecond, 400 * mib, time.Second},
		"a smaller one":  {40 * mib, time.Millisecond, 40 * mib, time.Second},
		"all of a disk":  {2 * gib, time.Millisecond, 2 * gib, 3 * time.Second},
		"up to its tail": {2*gib + 4*mib, time.Millisecond, 2 * gib, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z, l, began := &zeroes{perMiB: tc.perMiB}, layout{tc.size}, time.Now()
				var last Progress
				size, err := FirstRegion.wipeRegion(t.Context(), z, l, func(p Progress) {
					assert.LessOrEqual(t, p.Done, p.Total)
					last = p
				})
				require.NoError(t, err)
				assert.Equal(t, tc.want, size)
				assert.LessOrEqual(t, time.Since(began), tc.atMost+20*tc.perMiB)
				assert.Equal(t, last.Done, last.Total)
				wiped(t, z.all, span{0, size}, l.end(size))
			})
		})
	}
	t.Run("a disk that slows down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			z, began := &zeroes{perMiB: time.Millisecond}, time.Now()
			z.before = func(s span) error {
				if s.from >= gib { // its credit is used up
					z.perMiB = 20 * time.Millisecond
				}
				return nil
			}
			size, err := FirstRegion.wipeRegion(t.Context(), z, layout{tib}, func(Progress) {})
			require.NoError(t, err)
			assert.Equal(t, gib+256*mib, size)
			assert.Less(t, time.Since(began), 7*time.Second)
		})
	})
	t.Run("whole", func(t *testing.T) {
		z, l := &zeroes{}, layout{2*gib + 5*mib}
		size, err := Whole.wipeRegion(t.Context(), z, l, func(Progress) {})
		require.NoError(t, err)
		assert.Equal(t, 2*gib, size)
		wiped(t, z.all, span{0, l.size})
	})
	t.Run("a disk that fails", func(t *testing.T) {
		failed := errors.New("input/output error")
		for _, at := range []int64{0, 256 * mib, tib - 16*mib} {
			z := &zeroes{before: func(s span) error {
				if s.from == at {
					return failed
				}
				return nil
			}}
			_, err := FirstRegion.wipeRegion(t.Context(), z, layout{tib}, func(Progress) {})
			assert.ErrorIs(t, err, failed, "at %d", at)
		}
	})
}

// wiped compares what was wiped, in order, with what was to be.
func wiped(t *testing.T, all []span, want ...span) {
	t.Helper()
	var got []span
	for _, s := range all {
		if last := len(got) - 1; last >= 0 && got[last].to == s.from {
			got[last].to = s.to
		} else if s.size() > 0 {
			got = append(got, s)
		}
	}
	var merged []span
	for _, s := range want {
		if last := len(merged) - 1; last >= 0 && merged[last].to == s.from {
			merged[last].to = s.to
		} else if s.size() > 0 {
			merged = append(merged, s)
		}
	}
	assert.Equal(t, merged, got)
}
