package attestation_test

import (
	"strings"
	"testing"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestVariants pins the published names and OIDs.
func TestVariants(t *testing.T) {
	for name, oid := range map[string]string{
		"qemu-vtpm":           "1.3.9900.5.1",
		"aws-nitro-tpm":       "1.3.9900.2.1",
		"aws-sev-snp":         "1.3.9900.2.2",
		"gcp-sev-es":          "1.3.9900.3.1",
		"gcp-sev-snp":         "1.3.9900.3.2",
		"azure-sev-snp":       "1.3.9900.4.1",
		"azure-trustedlaunch": "1.3.9900.4.2",
		"azure-tdx":           "1.3.9900.4.3",
	} {
		parsed, err := attestation.ParseVariant(name)
		require.NoError(t, err)
		assert.Equal(t, name, string(parsed))
		assert.Equal(t, oid, parsed.OID().String())
	}
	for _, name := range []string{"", "dummy", "qemu-tdx", strings.ToUpper("qemu-vtpm")} {
		_, err := attestation.ParseVariant(name)
		require.ErrorContains(t, err, "want one of: qemu-vtpm, ")
		assert.Nil(t, attestation.Variant(name).OID())
		if name == "qemu-tdx" {
			assert.ErrorContains(t, err, "is known but not supported yet")
			continue
		}
		assert.ErrorIs(t, err, attestation.ErrVariant)
	}
}
