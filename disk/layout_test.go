package disk

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		size, initial, final, journal, reserve, next int64
	}{
		{15 * mib, 15 * mib, 15 * mib, 4 * mib, 240 * mib, 15 * mib},
		{236*mib + 4096, 236*mib + 4096, 236*mib + 4096, 16 * mib, 16 * (236*mib + 4096), 236*mib + 4096},
		{319 * mib, 319 * mib, 319 * mib, 16 * mib, 16 * 319 * mib, 319 * mib},
		{320 * mib, 256 * mib, 320 * mib, 16 * mib, 5 * gib, 272 * mib},
		{320*mib + 512, 256 * mib, 320 * mib, 16 * mib, 16 * (320*mib + 512), 272 * mib},
		{2*gib - mib, 256 * mib, 2*gib - mib, 32 * mib, 16 * (2*gib - mib), 272 * mib},
		{30 * gib, 256 * mib, 30 * gib, 64 * mib, 480 * gib, 368 * mib},
		{30*gib + 15*mib, 256 * mib, 30 * gib, 64 * mib, 16 * (30*gib + 15*mib), 368 * mib}, // the last group would be too small
		{4 << 40, 256 * mib, 4 << 40, 64 * mib, 8 << 40, 2*gib + 256*mib},
	} {
		l := layout{tc.size}
		assert.Equal(t, tc.initial, l.initial(), "initial of %d", tc.size)
		assert.Equal(t, tc.final, l.final(), "final of %d", tc.size)
		assert.Equal(t, tc.journal, l.journal(), "journal of %d", tc.size)
		assert.Equal(t, tc.reserve, l.reserve(), "reserve of %d", tc.size)
		assert.Equal(t, tc.next, l.next(tc.initial), "next of %d", tc.size)
	}
}

// TestGrowthSteps goes all the way on disks of many sizes: no step is smaller than
// what is worth growing or much larger than a 256th of the disk, none ends with a
// last block group that has no room for its tables, and what is left beside the
// end, wherever a growth counts as complete, lies in the end region.
func TestGrowthSteps(t *testing.T) {
	for size := int64(16 * mib); size < 5<<40; size += size/7 + 3*mib + 512 {
		l := layout{size}
		fileSystem := l.initial()
		steps := 0
		for ; !l.complete(fileSystem); steps++ {
			next := l.next(fileSystem)
			most := 2 * max(worthGrowing, size/256)
			require.True(t, next-fileSystem >= worthGrowing && next-fileSystem <= most, "%d: from %d to %d", size, fileSystem, next)
			require.True(t, next == size-size%blockSize || next%blockGroup == 0 || next%blockGroup >= worthGrowing, "%d: %d", size, next)
			fileSystem = next
		}
		require.LessOrEqual(t, steps, max(512, int(size/maxGrowth)+2), "%d", size)
		require.Equal(t, l.final(), fileSystem, "%d", size)
		require.GreaterOrEqual(t, fileSystem, l.end(0).from, "%d: something before the end region was left out", size)
	}
}

func TestExtents(t *testing.T) {
	l := layout{2 * gib}
	assert.Equal(t, []span{{0, 256 * mib}, {2*gib - 16*mib, 2 * gib}}, FirstRegion.spans(l))
	assert.Equal(t, []span{{0, 2 * gib}, {2 * gib, 2 * gib}}, Whole.spans(l))
	rest := layout{2*gib + 5*mib}
	assert.Equal(t, []span{{0, 2 * gib}, {2 * gib, 2*gib + 5*mib}}, Whole.spans(rest), "what the file system leaves is wiped as well")
	small := layout{40 * mib}
	assert.Equal(t, []span{{0, 40 * mib}, {40 * mib, 40 * mib}}, FirstRegion.spans(small))
}

func TestJournalSize(t *testing.T) {
	assert.EqualValues(t, 2*mib, journalSize(256*mib))
	assert.EqualValues(t, 16*mib, journalSize(4<<40))
}

// TestMkfs has mke2fs make file systems as new disks get them, in files: with the
// numbers of a large file system, whatever the first region.
func TestMkfs(t *testing.T) {
	program, err := mke2fs()
	require.NoError(t, err)
	for _, tc := range []struct {
		size   int64
		inodes string
	}{{15 * mib, "960"}, {236 * mib, "7552"}, {2 * gib, "8192"}, {64 * gib, "8192"}, {4 << 40, "8192"}} {
		t.Run(fmt.Sprint(tc.size/mib, " MiB"), func(t *testing.T) {
			path, l := filepath.Join(t.TempDir(), "disk"), layout{tc.size}
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			require.NoError(t, os.Truncate(path, tc.size))
			require.NoError(t, l.mkfs(t.Context(), program, path, l.initial()))
			found, fileSystem, err := measure(path)
			require.NoError(t, err)
			assert.Equal(t, l, found)
			assert.Equal(t, l.initial(), fileSystem)
			values := dumpe2fs(t, path)
			assert.Equal(t, "state", values["Filesystem volume name"])
			assert.Equal(t, "4096", values["Block size"])
			assert.Equal(t, tc.inodes, values["Inodes per group"])
			assert.Equal(t, "256", values["Inode size"])
			assert.Equal(t, "0", values["Reserved block count"])
			assert.Contains(t, values["Filesystem features"], "64bit")
			assert.Contains(t, values["Filesystem features"], "metadata_csum")
			assert.Equal(t, fmt.Sprint(l.journal()/blockSize), values["Total journal blocks"])
		})
	}
}

// dumpe2fs is what it prints about the superblock.
func dumpe2fs(t *testing.T, path string) map[string]string {
	t.Helper()
	program, err := exec.LookPath("dumpe2fs")
	if err != nil {
		program = "/sbin/dumpe2fs"
	}
	out, err := exec.CommandContext(t.Context(), program, "-h", path).Output()
	require.NoError(t, err)
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			values[name] = strings.TrimSpace(value)
		}
	}
	return values
}

func TestMkfsFails(t *testing.T) {
	program, err := mke2fs()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "nothing", "there")
	assert.ErrorContains(t, layout{gib}.mkfs(t.Context(), program, path, 256*mib), "making the file system: exit status 1: ")
	t.Setenv("PATH", t.TempDir())
	_, err = mke2fs()
	assert.ErrorContains(t, err, "mke2fs of e2fsprogs 1.47 or later is needed in this image")
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
