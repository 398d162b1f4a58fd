//go:build cgo

package verify_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/issue"
	"disk-mapper/attestation/verify"

	"github.com/google/go-sev-guest/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestIssuedDocuments has the validators judge what the issuers make.
func TestIssuedDocuments(t *testing.T) {
	for variant, text := range policyOf {
		t.Run(string(variant), func(t *testing.T) {
			m := startMachine(t, variant)
			policy, err := verify.ParsePolicy([]byte(text))
			require.NoError(t, err)
			issuer := m.issuer(t, variant, attestation.BindHashChain)
			v := believingIntel(believing(verify.New(policy, attestation.BindHashChain, &google{key: m.key}, nil)))
			assert.Equal(t, variant, issuer.Variant())

			raw, err := issuer.Issue(t.Context(), userData, nonce)
			require.NoError(t, err)
			require.NoError(t, v.Validate(t.Context(), raw, userData, nonce))
			assert.Zero(t, *m.reporter.level)
			assert.Less(t, len(raw), attestation.MaxDocument/4)

			for other, text := range policyOf {
				policy, err := verify.ParsePolicy([]byte(text))
				require.NoError(t, err)
				v := believingIntel(believing(verify.New(policy, attestation.BindHashChain, &google{key: m.key}, nil)))
				err = v.Validate(t.Context(), raw, userData, nonce)
				assert.Equal(t, other == variant, err == nil, "a document of %s passes for one of %s", variant, other)
			}

			require.NoError(t, m.tpm.Extend(t.Context(), 15, make([]byte, 32)))
			raw, err = issuer.Issue(t.Context(), userData, nonce)
			require.NoError(t, err)
			require.ErrorIs(t, v.Validate(t.Context(), raw, userData, nonce), verify.ErrMeasurement)
		})
	}
}

// TestIssuersAskForWhatIsDocumented: the machine here answers nothing else, and the
// operator knows of all of it.
func TestIssuersAskForWhatIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/platforms.md")
	require.NoError(t, err)
	for variant := range policyOf {
		t.Run(string(variant), func(t *testing.T) {
			assert.Contains(t, string(page), "| `"+string(variant)+"` |")
			for question := range startMachine(t, variant).metadata {
				path := strings.Fields(question)[1]
				assert.True(t, path == issuerPath || strings.Contains(string(page), "`"+path+"`"), path)
			}
		})
	}
}

// TestIssuedDocumentsOfRelease21: as above, in the older form.
func TestIssuedDocumentsOfRelease21(t *testing.T) {
	for _, variant := range []attestation.Variant{attestation.AzureSEVSNP, attestation.AzureTrustedLaunch, attestation.GCPSEVES} {
		t.Run(string(variant), func(t *testing.T) {
			m := startMachine(t, variant)
			policy, err := verify.ParsePolicy([]byte(in21(policyOf[variant])))
			require.NoError(t, err)
			v := believing(verify.New(policy, attestation.BindSigned, &google{key: m.key}, nil))
			raw, err := m.issuer(t, variant, attestation.BindSigned).Issue(t.Context(), userData, nonce)
			require.NoError(t, err)
			require.NoError(t, v.Validate(t.Context(), raw, userData, nonce))
			require.ErrorIs(t, v.Validate(t.Context(), raw, userData, other), verify.ErrBinding)

			raw, err = m.issuer(t, variant, attestation.BindHashChain).Issue(t.Context(), userData, nonce)
			require.NoError(t, err)
			require.ErrorIs(t, v.Validate(t.Context(), raw, userData, nonce), verify.ErrBinding)
		})
	}
}

func TestIssuersFail(t *testing.T) {
	const zone, certificates = "GET /computeMetadata/v1/instance/zone Google", "GET /metadata/THIM/amd/certification True"
	for name, c := range map[string]struct {
		variant attestation.Variant
		change  func(*machine)
		want    string
	}{
		"AWS, no reports":      {attestation.AWSSEVSNP, func(m *machine) { m.reporter.failed = io.ErrUnexpectedEOF }, "instance info: asking for an SNP report: unexpected EOF"},
		"unsigned report":      {attestation.AWSSEVSNP, func(m *machine) { m.reporter.kind = abi.NoneReportSigner }, "SNP report: signed by a None, whose certificate is not with it"},
		"AWS, no token":        {attestation.AWSNitroTPM, func(m *machine) { delete(m.metadata, "PUT /latest/api/token 300") }, "/latest/api/token: answer of status 404"},
		"AWS, no document":     {attestation.AWSNitroTPM, func(m *machine) { m.metadata["PUT /latest/api/token 300"] = "stale" }, "instance-identity/document: answer of status 404"},
		"GCP, no zone":         {attestation.GCPSEVSNP, func(m *machine) { delete(m.metadata, zone) }, "/computeMetadata/v1/instance/zone: answer of status 404"},
		"Azure, TDX, no quote": {attestation.AzureTDX, func(m *machine) { clear(m.metadata) }, "/acc/tdquote: answer of status 404"},
		"Azure, TDX, empty quote": {attestation.AzureTDX, func(m *machine) {
			for question := range m.metadata {
				m.metadata[question] = `{"quote":""}`
			}
		}, "reading /acc/tdquote: base64 of 0 characters, want a quote"},
		"Azure, no issuer":         {attestation.AzureTrustedLaunch, func(m *machine) { delete(m.metadata, "GET "+issuerPath+" ") }, "/issuer: answer of status 404"},
		"Azure, issuer is garbage": {attestation.AzureTrustedLaunch, func(m *machine) { m.metadata["GET "+issuerPath+" "] = "<html>" }, "issuer of the key's certificate: http://127.0.0.1"},
		"Azure, no THIM":           {attestation.AzureSEVSNP, func(m *machine) { delete(m.metadata, certificates) }, "THIM/amd/certification: answer of status 404"},
		"Azure, garbage":           {attestation.AzureSEVSNP, func(m *machine) { m.metadata[certificates] = "<html>" }, "reading /metadata/THIM/amd/certification: invalid character"},
		"Azure, no chain":          {attestation.AzureSEVSNP, func(m *machine) { m.metadata[certificates] = `{"vcekCert":"x"}` }, "vcekCert and certificateChain have 1 and 0 bytes"},
		"Azure, 4 MiB":             {attestation.AzureSEVSNP, func(m *machine) { m.metadata[certificates] = string(make([]byte, 4<<20)) }, "longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMachine(t, c.variant)
			c.change(m)
			_, err := m.issuer(t, c.variant, attestation.BindHashChain).Issue(t.Context(), userData, nonce)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// TestIssuersNeedTheirMachine: what the provider puts into the TPM is not there.
func TestIssuersNeedTheirMachine(t *testing.T) {
	m := startMachine(t, attestation.QEMUVTPM)
	for variant, want := range map[attestation.Variant]string{
		attestation.GCPSEVSNP:          "opening the attestation key: read error at index 29425665",
		attestation.AzureSEVSNP:        "opening the attestation key: failed to read public area",
		attestation.AzureTDX:           "opening the attestation key: failed to read public area",
		attestation.AzureTrustedLaunch: "opening the attestation key: failed to read public area",
	} {
		_, err := m.issuer(t, variant, attestation.BindHashChain).Issue(t.Context(), userData, nonce)
		assert.ErrorContains(t, err, want)
	}
	for variant, binding := range map[attestation.Variant]attestation.Binding{
		"qemu-tdx": attestation.BindHashChain, attestation.GCPSEVSNP: attestation.BindSigned,
	} {
		_, err := issue.New(variant, m.tpm, binding, issue.Platform{})
		assert.ErrorContains(t, err, "does not exist in this profile")
	}
}
