package disk

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	mib = int64(1 << 20)
	gib = int64(1 << 30)
)

func TestLayout(t *testing.T) {
	for _, tc := range []struct {
		size, least, most, final, journal, reserve, next int64
	}{
		{15 * mib, 15 * mib, 15 * mib, 15 * mib, 4 * mib, 240 * mib, 15 * mib},
		{236*mib + 4096, 236*mib + 4096, 236*mib + 4096, 236*mib + 4096, 16 * mib, 16 * (236*mib + 4096), 236*mib + 4096},
		{319 * mib, 319 * mib, 319 * mib, 319 * mib, 16 * mib, 16 * 319 * mib, 319 * mib},
		{320 * mib, 256 * mib, 320 * mib, 320 * mib, 16 * mib, 5 * gib, 288 * mib},
		{320*mib + 512, 256 * mib, 320 * mib, 320 * mib, 16 * mib, 16 * (320*mib + 512), 288 * mib},
		{2*gib - mib, 256 * mib, 2*gib - mib, 2*gib - mib, 32 * mib, 16 * (2*gib - mib), 288 * mib},
		{30 * gib, 256 * mib, 8 * gib, 30 * gib, 64 * mib, 480 * gib, 288 * mib},
		{30*gib + 15*mib, 256 * mib, 8 * gib, 30 * gib, 64 * mib, 16 * (30*gib + 15*mib), 288 * mib}, // the last group would be too small
		{4 << 40, 256 * mib, 8 * gib, 4 << 40, 64 * mib, 8 << 40, 288 * mib},
		{16 << 40, 256 * mib, 8 * gib, 16 << 40, 64 * mib, 8 << 40, 288 * mib},
	} {
		l := layout{tc.size}
		assert.Equal(t, tc.least, l.least(), "least of %d", tc.size)
		assert.Equal(t, tc.most, l.region(1<<50), "most of %d", tc.size)
		assert.Equal(t, tc.final, l.final(), "final of %d", tc.size)
		assert.Equal(t, tc.journal, l.journal(), "journal of %d", tc.size)
		assert.Equal(t, tc.reserve, l.reserve(), "reserve of %d", tc.size)
		assert.Equal(t, tc.next, l.next(tc.least, gib), "next of %d", tc.size)
	}
}

// TestRegions: whatever was wiped, the file system is whole block groups within it,
// or all of the disk.
func TestRegions(t *testing.T) {
	for wiped, want := range map[int64]int64{
		0: 256 * mib, 383 * mib: 256 * mib, 384 * mib: 384 * mib, 5*gib + mib: 5 * gib, 8 * gib: 8 * gib, 9 * gib: 8 * gib,
	} {
		assert.Equal(t, want, layout{1 << 40}.region(wiped), "%d MiB", wiped/mib)
	}
	assert.Equal(t, 570*mib, layout{570 * mib}.region(512*mib), "so little is not left for later")
	assert.Equal(t, 384*mib, layout{570 * mib}.region(400*mib))
}

// TestGrowthSteps goes all the way on disks of many sizes, from first regions of
// either size, with much and with little room: no step is smaller than what is worth
// growing, larger than an eighth of what is there or a quarter of the room, none
// ends with a last block group that has no room for its tables, and what is left
// beside the end, wherever a growth counts as complete, lies in the end region.
func TestGrowthSteps(t *testing.T) {
	for size := int64(16 * mib); size < 40<<40; size += size/7 + 3*mib + 512 {
		l := layout{size}
		for _, fileSystem := range []int64{l.least(), l.region(1 << 50)} {
			room, steps := gib<<20, 0
			if size < 10*gib {
				room = 100 * mib // all the way
			}
			for ; !l.complete(fileSystem); steps++ {
				next := l.next(fileSystem, room)
				most := max(worthGrowing, min(fileSystem/8, room/4, maxGrowth))
				require.True(t, next-fileSystem >= worthGrowing && next-fileSystem <= 2*most, "%d: from %d to %d", size, fileSystem, next)
				require.True(t, next == size-size%blockSize || next%blockGroup == 0 || next%blockGroup >= worthGrowing, "%d: %d", size, next)
				fileSystem = next
			}
			if room > gib {
				require.LessOrEqual(t, steps, 64+int(size/maxGrowth), "%d", size)
			}
			require.Equal(t, l.final(), fileSystem, "%d", size)
			require.GreaterOrEqual(t, fileSystem, l.end(0).from, "%d: something before the end region was left out", size)
		}
	}
}

// TestStepsLeaveRoom: a step is a quarter of the room, or the least that is worth
// growing.
func TestStepsLeaveRoom(t *testing.T) {
	for _, free := range []int64{0, 16 * mib, 100 * mib, 180 * mib, 3 * gib, 1 << 40} {
		l := layout{1 << 40}
		step := l.next(300*gib, free) - 300*gib
		assert.LessOrEqual(t, step, max(worthGrowing, free/4))
	}
}

func TestJournalSize(t *testing.T) {
	assert.EqualValues(t, 2*mib, journalSize(256*mib))
	assert.EqualValues(t, 16*mib, journalSize(4<<40))
}

// ext4 is a superblock of 2^17 blocks.
func ext4() []byte {
	raw := make([]byte, 1024)
	for at, value := range map[int]uint32{ext4BlocksLow: 1 << 17, ext4LogBlockSize: 2, ext4BlocksPerGroup: 1 << 15, ext4Magic: 0xef53} {
		binary.LittleEndian.PutUint32(raw[at:], value)
	}
	return raw
}

func TestExt4Size(t *testing.T) {
	put := func(at int, value uint32) func([]byte) {
		return func(raw []byte) { binary.LittleEndian.PutUint32(raw[at:], value) }
	}
	for name, tc := range map[string]struct {
		change func([]byte)
		want   int64
		err    string
	}{
		"as it is":             {func([]byte) {}, 512 * mib, ""},
		"high, without 64bit":  {put(ext4BlocksHigh, 1), 512 * mib, ""},
		"high":                 {func(b []byte) { put(ext4BlocksHigh, 1)(b); put(ext4Incompat, ext4Is64Bit)(b) }, 16<<40 + 512*mib, ""},
		"no file system":       {put(ext4Magic, 0), 0, "no ext4 file system: magic 0x0, want 0xef53"},
		"blocks of 1 KiB":      {put(ext4LogBlockSize, 0), 0, "log block size 0"},
		"other groups":         {put(ext4BlocksPerGroup, 1<<14), 0, "16384 blocks in a group"},
		"no blocks":            {put(ext4BlocksLow, 0), 0, "ext4 of 0 blocks"},
		"more than can be":     {func(b []byte) { put(ext4BlocksHigh, 1<<20)(b); put(ext4Incompat, ext4Is64Bit)(b) }, 0, "want less than 2^50"},
		"more than an integer": {func(b []byte) { put(ext4BlocksHigh, 1<<31)(b); put(ext4Incompat, ext4Is64Bit)(b) }, 0, "want less than 2^50"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := ext4()
			tc.change(raw)
			got, err := parseExt4Size(raw)
			if tc.err != "" {
				assert.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

func FuzzExt4Size(f *testing.F) {
	f.Add(ext4())
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) != 1024 {
			return
		}
		size, err := parseExt4Size(raw)
		require.True(t, err != nil || size > 0 && size%blockSize == 0 && size <= blockSize<<50)
	})
}

func TestGrowthOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	content := make([]byte, 4096)
	copy(content[ext4Superblock:], ext4())
	require.NoError(t, os.WriteFile(path, content, 0o600))
	_, err := Growth(path)
	assert.ErrorContains(t, err, "has 4096 bytes, its file system 536870912")
	require.NoError(t, os.Truncate(path, 600*mib))
	p, err := Growth(path)
	require.NoError(t, err)
	assert.Equal(t, Progress{512 * mib, 600 * mib}, p)
	require.NoError(t, os.Truncate(path, 527*mib))
	p, err = Growth(path)
	require.NoError(t, err)
	assert.Equal(t, Progress{512 * mib, 512 * mib}, p, "not worth growing")
}
