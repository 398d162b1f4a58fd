package attestation_test

import (
	"strings"
	"testing"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestVariants pins the published names and OIDs, and which of them are supported.
func TestVariants(t *testing.T) {
	for name, c := range map[string]struct {
		oid       string
		supported bool
	}{
		"qemu-vtpm":           {"1.3.9900.5.1", true},
		"aws-nitro-tpm":       {"1.3.9900.2.1", true},
		"aws-sev-snp":         {"1.3.9900.2.2", true},
		"gcp-sev-es":          {"1.3.9900.3.1", true},
		"gcp-sev-snp":         {"1.3.9900.3.2", true},
		"azure-sev-snp":       {"1.3.9900.4.1", true},
		"azure-trustedlaunch": {"1.3.9900.4.2", true},
		"azure-tdx":           {"1.3.9900.4.3", false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.oid, attestation.Variant(name).OID().String())
			parsed, err := attestation.ParseVariant(name)
			if !c.supported {
				require.ErrorContains(t, err, `attestation variant "`+name+`" is known but not supported yet, want one of: qemu-vtpm`)
				assert.NotErrorIs(t, err, attestation.ErrVariant)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, attestation.Variant(name), parsed)
		})
	}
	for _, name := range []string{"", "dummy", "qemu-tdx", strings.ToUpper("qemu-vtpm")} {
		_, err := attestation.ParseVariant(name)
		require.ErrorIs(t, err, attestation.ErrVariant)
		assert.ErrorContains(t, err, "want one of: qemu-vtpm")
		assert.Nil(t, attestation.Variant(name).OID())
	}
}
