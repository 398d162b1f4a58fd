package disk

import (
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/require"
)

// BenchmarkProve compares a try of a key on a disk of ours with one on a disk
// whose keyslot has the memory and lanes that old clusters chose.
func BenchmarkProve(b *testing.B) {
	h, area, key := preparedDisk(b)
	b.Run("our keyslot", func(b *testing.B) {
		for b.Loop() {
			_, err := openKeyslot(h.metadata, area, key)
			require.NoError(b, err)
		}
	})
	old := h.metadata.Keyslots["0"]
	old.KDF.Time, old.KDF.Memory, old.KDF.CPUs = 4, 64<<10, 4
	b.Run("64 MiB, 4 passes", func(b *testing.B) {
		for b.Loop() {
			candidateVolumeKey(old.KDF, area, key)
		}
	})
}

// TestProvenKeyIsNotDerivedAgain: Unlock gets the volume key of the key that was
// proven last, once, and of no other.
func TestProvenKeyIsNotDerivedAgain(t *testing.T) {
	h, area, key := preparedDisk(t)
	d, err := diskOf(image(t, h, area))
	require.NoError(t, err)
	_, ok := d.proven.take(key)
	require.False(t, ok, "nothing was proven")
	require.NoError(t, d.Prove(key))
	require.ErrorIs(t, d.Prove(keys.RandomDiskKey()), keys.ErrWrongKey)
	want, err := d.volumeKey(key)
	require.NoError(t, err)
	_, ok = d.proven.take(keys.RandomDiskKey())
	require.False(t, ok, "of another key")
	_, ok = d.proven.take(keys.DiskKey{})
	require.False(t, ok, "of no key")
	held := d.proven.volumeKey
	got, ok := d.proven.take(key.Clone())
	require.True(t, ok)
	require.Equal(t, want.Bytes(), got.Bytes())
	require.Equal(t, make([]byte, volumeKeySize), held.Bytes(), "forgotten")
	_, ok = d.proven.take(key)
	require.False(t, ok, "twice")
}
