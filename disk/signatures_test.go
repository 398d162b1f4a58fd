package disk

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSignatures: each is found on a disk of noise, so that no zeros around it
// are needed, and none is found on noise alone.
func TestSignatures(t *testing.T) {
	noise := []byte(strings.Repeat("noise!!", minSize/7+1))[:minSize]
	for i, sig := range signatures {
		t.Run(fmt.Sprint(i, " ", sig.name), func(t *testing.T) {
			at := sig.offset
			if at < 0 {
				at += minSize
			}
			place := noise[at:][:len(sig.magic)]
			was := slices.Clone(place)
			defer copy(place, was)
			copy(place, sig.magic)
			_, err := diskOf(noise)
			var refusal *Refusal
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, "signature", refusal.Field)
			assert.Equal(t, Foreign, refusal.Meaning)
		})
	}
	_, err := diskOf(noise)
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	assert.True(t, refusal.Unrecognised())
}

// TestSignaturesOnOddDisks: what is counted from the end of a disk whose size the
// format rounds down is found there, and nowhere else.
func TestSignaturesOnOddDisks(t *testing.T) {
	found := func(size, at int64, magic string) string {
		disk := &thinDisk{bytes: map[int64]byte{}}
		for i := range len(magic) {
			disk.bytes[at+int64(i)] = magic[i]
		}
		traces, err := snapshot{disk, size}.search(make([]byte, headersSize))
		require.NoError(t, err)
		name, _ := traces.foreign()
		return name
	}
	odd := append(slices.Clone(signatures), signature{"a ZFS pool", -2*zfsLabel + zfsRing + 1024, zfsMagics[0], zfsLabel}, signature{"a ZFS pool", -zfsLabel + zfsList, zfsLists[1], zfsLabel})
	for _, sig := range odd {
		if sig.align <= 512 {
			continue
		}
		for _, size := range []int64{minSize + 512, minSize + sig.align - 512, minSize + sig.align/2} {
			assert.Equal(t, sig.name, found(size, size-size%sig.align+sig.offset, sig.magic), "%d bytes", size)
			assert.NotEqual(t, sig.name, found(size, size+sig.offset, sig.magic), "%d bytes, counted from the end itself", size)
		}
	}
}
