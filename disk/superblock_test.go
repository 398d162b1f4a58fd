package disk

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sizes are those of the disks in testdata/superblocks, by the end of the name.
var sizes = map[string]uint64{
	"32M": 32 << 20, "64M": 64 << 20, "256M": 256 << 20, "4G": 4 << 30, "64G": 64 << 30, "9T": 9 << 40, "odd": 104864256,
}

// TestRealSuperblocks: kernels use the whole disk, to the sector that we
// compute, and no journal larger than we allow.
func TestRealSuperblocks(t *testing.T) {
	paths, err := filepath.Glob("testdata/superblocks/*.bin")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".bin")
		t.Run(name, func(t *testing.T) {
			size := sizes[name[strings.LastIndexByte(name, '-')+1:]]
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			var b superblock
			_, err = binary.Decode(raw, binary.LittleEndian, &b)
			require.NoError(t, err)
			var l ledger
			require.NoError(t, l.require("", b.rules(size/512)...))
			assert.Equal(t, mostJournalSections(size/512), b.JournalSections)
			if !strings.Contains(name, "legacy") {
				assert.Equal(t, superblockOf(size)[:len(raw)], raw)
			}
			less := size/512 - blockSectors
			assert.Error(t, l.require("", b.rules(less)...), "a disk that is one block smaller")
		})
	}
}

// TestEnlarged: no disk as a kernel has left it, and each that has one block more,
// unless that is to hold tags.
func TestEnlarged(t *testing.T) {
	paths, err := filepath.Glob("testdata/superblocks/*.bin")
	require.NoError(t, err)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".bin")
		size := sizes[name[strings.LastIndexByte(name, '-')+1:]]
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		var b superblock
		_, err = binary.Decode(raw, binary.LittleEndian, &b)
		require.NoError(t, err)
		assert.False(t, b.enlarged(size/512), "%s, as it is", name)
		assert.True(t, b.enlarged(size/512+tagAreaSectors+blockSectors), "%s, with another area", name)
		assert.Less(t, b.lastTag(), int64(size), name)
		assert.Greater(t, b.lastTag(), int64(size)-(tagAreaSectors+1<<log2Interleave+tagAreaSectors+blockSectors)*512, name)
	}
	b := superblock{JournalSections: 1, ProvidedSectors: 3 << log2Interleave}
	end := b.end()
	for more, want := range map[uint64]bool{0: false, 7: false, 8: false, tagAreaSectors: false, tagAreaSectors + 7: false, tagAreaSectors + 8: true} {
		assert.Equal(t, want, b.enlarged(end+more), "%d sectors more than whole areas", more)
	}
	b.ProvidedSectors -= 80
	for more, want := range map[uint64]bool{0: false, 7: false, 8: true, 16: true, 15 << 11: true} {
		assert.Equal(t, want, b.enlarged(b.end()+more), "%d sectors more", more)
	}
}
