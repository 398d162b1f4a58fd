package disk

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAllowList pins what is accepted, field by field: whoever changes it counts
// AllowListVersion up and looks at every line of the difference.
func TestAllowList(t *testing.T) {
	c := joinedDisk(t)
	token(newToken + `,"2":{"type":"disk-mapper-format","keyslots":[],"kdf_salt":"` + salt32 + `"}`)(c) // formatted by us, joined by an old bootstrapper
	s := snapshot{bytes.NewReader(c.seal()), minSize}
	var l ledger
	d, err := s.verdict(&l)
	require.NoError(t, err)
	require.Equal(t, Joined, d.State())
	var lines strings.Builder
	for _, f := range l.findings {
		require.True(t, f.OK, f.Field)
		if !strings.HasSuffix(f.Field, "checksum") && f.Field != "header copies uuid" {
			fmt.Fprintf(&lines, "%s: %s\n", f.Field, f.Want)
		}
	}
	golden := fmt.Sprintf("testdata/allow-list-%d.txt", AllowListVersion)
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), lines.String(), golden)
}
