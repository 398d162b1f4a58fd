package disk

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLastBlockIsWipedLast: and when all before it is safe.
func TestLastBlockIsWipedLast(t *testing.T) {
	for name, tc := range map[string]struct{ whole, before span }{
		"16 MiB":    {span{gib, gib + 16*mib}, span{gib, gib + 16*mib - 4096}},
		"one block": {span{gib, gib + 4096}, span{gib, gib}},
		"nothing":   {span{gib, gib}, span{}},
	} {
		t.Run(name, func(t *testing.T) {
			z := &zeroes{}
			if tc.whole.size() > 0 {
				z.before = func(s span) error {
					if s.from == tc.whole.to-4096 {
						assert.Equal(t, len(z.all), z.syncedAt)
					}
					return nil
				}
			}
			require.NoError(t, wipeLastBlockLast(t.Context(), z, tc.whole))
			wiped(t, z.all, tc.whole)
			if tc.whole.size() > 0 {
				assert.Equal(t, tc.before, z.all[0])
				assert.Len(t, z.all, 2)
			}
			assert.Equal(t, len(z.all), z.syncedAt)
		})
	}
	failed := errors.New("input/output error")
	z := &zeroes{before: func(span) error { return failed }}
	assert.ErrorIs(t, wipeLastBlockLast(t.Context(), z, span{0, 8192}), failed)
	z = &zeroes{synced: failed}
	assert.ErrorIs(t, wipeLastBlockLast(t.Context(), z, span{0, 8192}), failed)
	assert.Len(t, z.all, 1, "the last block proves nothing if what is before it is not safe")
}

// TestTagOfTheEnd is about Joined disks only: another has no data that is kept.
func TestTagOfTheEnd(t *testing.T) {
	path := sparse(t, 256*mib)
	b := superblock{JournalSections: 10, ProvidedSectors: 200 * 2048}
	d := &Device{identity: identity{path: path, node: node{size: 256 * mib}}, state: Joined, data: b}
	tagged, err := d.endIsTagged()
	require.NoError(t, err)
	assert.False(t, tagged)
	for _, beside := range []int64{-1, tagSize} {
		putByte(t, path, b.lastTag()+beside)
	}
	tagged, err = d.endIsTagged()
	require.NoError(t, err)
	assert.False(t, tagged, "the tags beside it do not count")
	putByte(t, path, b.lastTag()+tagSize-1)
	tagged, err = d.endIsTagged()
	require.NoError(t, err)
	assert.True(t, tagged)

	require.NoError(t, os.Truncate(path, b.lastTag()))
	_, err = d.endIsTagged()
	assert.ErrorContains(t, err, "reading the tag of the last block", "which is not one of zeros")

	d.state = Prepared
	d.path = "/nothing/there"
	tagged, err = d.endIsTagged()
	require.NoError(t, err)
	assert.True(t, tagged)
	assert.False(t, d.enlarged())
	d.state = Joined
	_, err = d.endIsTagged()
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.True(t, d.enlarged())
}

func putByte(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{1}, at)
	require.NoError(t, err)
}
