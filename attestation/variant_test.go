package attestation_test

import (
	"strings"
	"testing"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestVariants pins the published names and OIDs, and what release 2.1 had.
func TestVariants(t *testing.T) {
	for name, want := range map[string]struct {
		oid  string
		in21 bool
	}{
		"qemu-vtpm":           {"1.3.9900.5.1", true},
		"aws-nitro-tpm":       {"1.3.9900.2.1", false},
		"aws-sev-snp":         {"1.3.9900.2.2", false},
		"gcp-sev-es":          {"1.3.9900.3.1", true},
		"gcp-sev-snp":         {"1.3.9900.3.2", false},
		"azure-sev-snp":       {"1.3.9900.4.1", true},
		"azure-trustedlaunch": {"1.3.9900.4.2", true},
		"azure-tdx":           {"1.3.9900.4.3", false},
	} {
		parsed, err := attestation.ParseVariant(name)
		require.NoError(t, err)
		assert.Equal(t, name, string(parsed))
		assert.Equal(t, want.oid, parsed.OID().String())
		assert.True(t, parsed.Has(attestation.BindHashChain))
		assert.Equal(t, want.in21, parsed.Has(attestation.BindSigned), name)
		assert.False(t, parsed.Has(0))
	}
	for _, name := range []string{"", "dummy", "qemu-tdx", strings.ToUpper("qemu-vtpm")} {
		_, err := attestation.ParseVariant(name)
		require.ErrorContains(t, err, "want one of: qemu-vtpm, ")
		assert.Nil(t, attestation.Variant(name).OID())
		assert.False(t, attestation.Variant(name).Has(attestation.BindHashChain))
		if name == "qemu-tdx" {
			assert.ErrorContains(t, err, "is known but not supported yet")
			continue
		}
		assert.ErrorIs(t, err, attestation.ErrVariant)
	}
}
