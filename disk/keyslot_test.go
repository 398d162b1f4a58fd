package disk

import (
	"testing"

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
