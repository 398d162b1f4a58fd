package setup

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOneCluster: a node whose command line names a cluster measures no other, and
// does not map the disk that a proven key would open.
func TestOneCluster(t *testing.T) {
	const own = "e7fd5a0e36fb56d69807aa36e68aee24438c1bf8766780b6106150f35b7aacba"
	other := strings.Repeat("00", 31) + "01"
	for name, tc := range map[string]struct{ wants, measured string }{
		"its own":              {own, "e7fd"},
		"its own, in capitals": {strings.ToUpper(own), "e7fd"},
		"any":                  {"", "e7fd"},
		"another":              {other, ""},
		"one bit off":          {own[:63] + "b", ""},
		"the same beginning":   {own[:4] + other[4:], ""},
	} {
		t.Run(name, func(t *testing.T) {
			master, salt := vectorA(t)
			pair, err := master.Pair(mustID("12345678-90ab-cdef-1234-567890abcdef"))
			require.NoError(t, err)
			w := &world{joined: true, key: pair.Disk.Clone(), salt: salt}
			b, _ := newBoot(t, w, sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error { return prove(ctx, pair) }))
			var id keys.ClusterID
			if tc.wants != "" {
				id, err = keys.ParseClusterID(tc.wants)
				require.NoError(t, err)
			}
			b.Register = OneCluster{w, id}
			err = b.Run(t.Context())
			if tc.measured != "" {
				require.NoError(t, err)
				assert.Contains(t, w.steps, "extend "+tc.measured)
				return
			}
			assert.ErrorContains(t, err, "cluster "+own+", and constel.cluster-id= on the kernel command line wants "+tc.wants)
			assert.NotContains(t, strings.Join(w.steps, " "), "extend", "measured all the same")
			assert.NotContains(t, strings.Join(w.steps, " "), "unlock", "mapped all the same")
			assert.NoFileExists(t, filepath.Join(b.Handover.Root, keyFile))
		})
	}
}
