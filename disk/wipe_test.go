package disk

import (
	"bytes"
	"context"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// loopOf is a block device of noise, and the file behind it.
func loopOf(t *testing.T) (loop, path string) {
	t.Helper()
	path = diskFile(t, bytes.Repeat([]byte("noise, "), minSize/7+1)[:minSize])
	return attachLoop(t, path), path
}

// TestWiper: all of the part, and nothing beside it, is zeros on the disk.
func TestWiper(t *testing.T) {
	const block = int64(wipeBlock)
	for name, s := range map[string]span{
		"one sector":            {8192, 8192 + sectorSize},
		"fewer than writers":    {sectorSize, 4 * sectorSize},
		"no multiple of blocks": {sectorSize, sectorSize + 5*block + 3*sectorSize},
		"to the end":            {minSize - block, minSize},
		"all":                   {0, minSize},
		"nothing":               {4096, 4096},
	} {
		t.Run(name, func(t *testing.T) {
			loop, path := loopOf(t)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			w, err := openWiper(loop)
			require.NoError(t, err)
			assert.EqualValues(t, minSize, w.size)
			total := int64(0)
			require.NoError(t, w.wipe(t.Context(), s, func(n int64) { total += n }))
			require.NoError(t, w.sync())
			require.NoError(t, w.Close())
			assert.Equal(t, s.size(), total)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(slices.Concat(before[:s.from], make([]byte, s.size()), before[s.to:]), after))
		})
	}
}

func TestWiperFails(t *testing.T) {
	loop, _ := loopOf(t)
	w, err := openWiper(loop)
	require.NoError(t, err)
	defer w.Close()
	err = w.wipe(t.Context(), span{minSize, minSize + sectorSize}, func(int64) { t.Error("nothing was written") })
	require.ErrorIs(t, err, unix.ENOSPC)
	assert.ErrorContains(t, err, "wiping at byte 33554432")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	assert.ErrorIs(t, w.wipe(ctx, span{0, sectorSize}, func(int64) { t.Error("nothing was written") }), errBroken)
	_, err = openWiper(loop + "-missing")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestReadable: a part is there only if all of it can be read.
func TestReadable(t *testing.T) {
	loop, path := loopOf(t)
	const lost = minSize - sectorSize
	require.NoError(t, os.Truncate(path, lost)) // what the file has lost, the device cannot read
	assert.True(t, readable(loop, span{lost - 2<<20, lost}))
	assert.False(t, readable(loop, span{lost - 2<<20, minSize}))
	assert.False(t, readable(loop, span{lost, minSize}))
	assert.True(t, readable(loop, span{minSize, minSize}), "nothing is missing of nothing")
	assert.False(t, readable(loop+"-missing", span{0, sectorSize}))
}
