package verify_test

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/attestation/verify"

	"github.com/google/go-tdx-guest/proto/tdx"
	genuine "github.com/google/go-tdx-guest/testing/testdata"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() {
	policyOf[attestation.AzureTDX] = `{"variant":"azure-tdx","measurements":{"15":"` + strings.Repeat("00", 32) + `"},` +
		`"tdx":{"minimumTEESVN":"03000400000000000000000000000000","minimumQESVN":4,"minimumPCESVN":11,"mrTDs":["` +
		hex.EncodeToString(genuineQuote().GetTdQuoteBody().GetMrTd()) + `"]}}`
}

func TestTDX(t *testing.T) {
	enclave := func(q *tdx.QuoteV4) *tdx.EnclaveReport {
		return q.SignedData.CertificationData.QeReportCertificationData.QeReport
	}
	for name, c := range map[string]struct {
		vendor *fakeIntel
		quote  func(*tdx.QuoteV4)
		info   func(*instance.TDX)
		raw    func(string) string
		prover func(*prover)
		policy func(string) string
		kind   error // nil means accepted
		text   string
	}{
		"honest":                     {},
		"one of two":                 {policy: replace(`"mrTDs":[`, `"mrTDs":["`+strings.Repeat("00", 48)+`",`)},
		"newer firmware":             {quote: func(q *tdx.QuoteV4) { q.TdQuoteBody.TeeTcbSvn[2] = 9 }},
		"old firmware":               {quote: func(q *tdx.QuoteV4) { q.TdQuoteBody.TeeTcbSvn[2] = 3; q.TdQuoteBody.TeeTcbSvn[0] = 9 }, kind: verify.ErrHardware, text: "TDX firmware of version 0900030"},
		"old enclave":                {policy: replace(`"minimumQESVN":4`, `"minimumQESVN":5`), kind: verify.ErrHardware, text: "quoting enclave of version 4, want 5 or later"},
		"old PCE":                    {policy: replace(`"minimumPCESVN":11`, `"minimumPCESVN":12`), kind: verify.ErrHardware, text: "provisioning enclave of version 11, want 12 or later"},
		"debugging":                  {quote: func(q *tdx.QuoteV4) { q.TdQuoteBody.TdAttributes[0] = 1 }, kind: verify.ErrHardware, text: "TD with the attributes 0100004000000000 may be debugged"},
		"another launch":             {quote: func(q *tdx.QuoteV4) { q.TdQuoteBody.MrTd[0] ^= 1 }, kind: verify.ErrHardware, text: "which is not among the 1 accepted"},
		"another module":             {quote: func(q *tdx.QuoteV4) { q.TdQuoteBody.MrSignerSeam[0] = 1 }, kind: verify.ErrHardware, text: "TDX module of the signer 01"},
		"module debugged":            {quote: func(q *tdx.QuoteV4) { q.TdQuoteBody.SeamAttributes[0] = 1 }, kind: verify.ErrHardware, text: "TDX module of the signer"},
		"enclave of another signer":  {quote: func(q *tdx.QuoteV4) { enclave(q).MrSigner[0] ^= 1 }, kind: verify.ErrHardware, text: "quoting enclave of the signer dd"},
		"another enclave of Intel's": {quote: func(q *tdx.QuoteV4) { enclave(q).IsvProdId = 1 }, kind: verify.ErrHardware, text: "product 1, want Intel's"},
		"enclave is debugged":        {quote: func(q *tdx.QuoteV4) { enclave(q).Attributes[0] |= 2 }, kind: verify.ErrHardware, text: "quoting enclave with the attributes 17"},
		"enclave is not initialised": {quote: func(q *tdx.QuoteV4) { enclave(q).Attributes[0] &^= 1 }, kind: verify.ErrHardware, text: "quoting enclave with the attributes 14"},
		"enclave selects more":       {quote: func(q *tdx.QuoteV4) { enclave(q).MiscSelect = 1 }, kind: verify.ErrHardware, text: "quoting enclave with the attributes"},
		"other vendor":               {vendor: otherIntel(), kind: verify.ErrHardware, text: "signed by unknown authority"},
		"changed afterwards":         {info: func(i *instance.TDX) { i.AttestationReport[48+136] ^= 1 }, kind: verify.ErrHardware, text: "unable to verify message digest"},
		"half a quote":               {info: func(i *instance.TDX) { i.AttestationReport = i.AttestationReport[:600] }, kind: verify.ErrHardware, text: "minimum size"},
		"no signed data":             {info: func(i *instance.TDX) { copy(i.AttestationReport[632:], []byte{1, 0, 0, 0}) }, kind: verify.ErrHardware, text: "slice bounds out of range"},
		"quote of version 5":         {info: func(i *instance.TDX) { i.AttestationReport[0] = 5 }, kind: verify.ErrHardware, text: "quote format not supported"},
		"quote of SGX":               {info: func(i *instance.TDX) { i.AttestationReport[4] = 0 }, kind: verify.ErrHardware, text: "TEE type"},
		"other runtime data":         {info: func(i *instance.TDX) { i.RuntimeData = append(i.RuntimeData, ' ') }, kind: verify.ErrHardware, text: "report is about runtime data with the hash"},
		"another key":                {prover: (*prover).useOtherKey, kind: verify.ErrKey, text: "it is not the one in the runtime data"},
		"no quote":                   {info: func(i *instance.TDX) { i.AttestationReport = nil }, kind: verify.ErrDocument, text: `"/AttestationReport" is null`},
		"unknown member":             {raw: replace(`"RuntimeData"`, `"Extra":1,"RuntimeData"`), kind: verify.ErrDocument, text: `"/Extra" is unknown`},
		"no info":                    {prover: func(p *prover) { p.info = nil }, kind: verify.ErrDocument, text: "instance info: JSON is malformed"},
		"PCR 15 is not zero":         {prover: func(p *prover) { p.banks[11][15] = other }, kind: verify.ErrMeasurement, text: "measurement 15"},
	} {
		t.Run(name, func(t *testing.T) {
			p, vendor := newProver(), someIntel()
			if c.vendor != nil {
				vendor = c.vendor
			}
			info := instance.TDX{RuntimeData: runtimeData(&p.key.PublicKey)}
			info.AttestationReport = vendor.quote(t, digest(info.RuntimeData), c.quote)
			if c.info != nil {
				c.info(&info)
			}
			var err error
			p.info, err = json.Marshal(info)
			require.NoError(t, err)
			if c.raw != nil {
				p.info = []byte(c.raw(string(p.info)))
			}
			if c.prover != nil {
				c.prover(p)
			}
			text := policyOf[attestation.AzureTDX]
			if c.policy != nil {
				text = c.policy(text)
				require.NotEqual(t, policyOf[attestation.AzureTDX], text, "the row changes nothing")
			}
			policy, err := verify.ParsePolicy([]byte(text))
			require.NoError(t, err)
			v := believingIntel(verify.New(policy, attestation.BindHashChain, nil, nil))
			err = v.Validate(t.Context(), marshal(t, p.document(t, attestation.BindHashChain, userData, nonce)), userData, nonce)
			if c.kind == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.text)
			assert.NotContains(t, err.Error(), "\n")
			assert.Less(t, len(err.Error()), 1000)
		})
	}
}

// TestGenuineQuote: with the pinned root, a quote of a real machine is found to be
// genuine and in accordance with the policy; it is only not about our key.
func TestGenuineQuote(t *testing.T) {
	policy, err := verify.ParsePolicy([]byte(policyOf[attestation.AzureTDX]))
	require.NoError(t, err)
	p := newProver()
	p.info, err = json.Marshal(instance.TDX{AttestationReport: genuine.RawQuote, RuntimeData: runtimeData(&p.key.PublicKey)})
	require.NoError(t, err)
	raw := marshal(t, p.document(t, attestation.BindHashChain, userData, nonce))
	v := verify.New(policy, attestation.BindHashChain, nil, nil)
	err = v.Validate(t.Context(), raw, userData, nonce)
	require.ErrorIs(t, err, verify.ErrHardware)
	require.ErrorContains(t, err, "report is about runtime data with the hash")

	err = believingIntel(v).Validate(t.Context(), raw, userData, nonce)
	require.ErrorIs(t, err, verify.ErrHardware)
	assert.ErrorContains(t, err, "signed by unknown authority")
}
