package verify_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	userData = slices.Repeat([]byte{0xaa}, sha256.Size)
	nonce    = slices.Repeat([]byte{0xbb}, attestation.NonceSize)
	other    = slices.Repeat([]byte{0xcc}, 32)
	zero     = make([]byte, 32)
)

func policy(t testing.TB, measurements map[int]verify.Measurement, aks ...[32]byte) verify.Policy {
	t.Helper()
	p, err := verify.NewPolicy(measurements, aks...)
	require.NoError(t, err)
	return p
}

// honest is what newProver is expected to measure.
func honest() map[int]verify.Measurement {
	return map[int]verify.Measurement{4: {Expected: value(4)}, 11: {Expected: value(11)}, 15: {Expected: zero}}
}

func TestAccepts(t *testing.T) {
	p := newProver()
	for name, policy := range map[string]verify.Policy{
		"any key":    policy(t, honest()),
		"pinned key": policy(t, honest(), [32]byte(other), p.fingerprint(t)),
	} {
		for _, binding := range []attestation.Binding{attestation.BindHashChain, attestation.BindSigned} {
			t.Run(fmt.Sprintf("%s, binding %d", name, binding), func(t *testing.T) {
				v := verify.New(policy, binding, nil, func(_ context.Context, s string) { t.Error("warned:", s) })
				raw := marshal(t, p.document(t, binding, userData, nonce))
				require.NoError(t, v.Validate(t.Context(), raw, userData, nonce))
				assert.Equal(t, attestation.QEMUVTPM, v.Variant())
			})
		}
	}
}

// TestAcceptsWhatIsIgnored: members that genuine issuers may send and that no
// decision depends on.
func TestAcceptsWhatIsIgnored(t *testing.T) {
	p := newProver()
	delete(p.banks, tpm2.AlgSHA512)
	d := p.document(t, attestation.BindHashChain, userData, nonce)
	d.Attestation.EventLog = []byte("whatever")
	raw := strings.Replace(string(marshal(t, d)), `"ak_pub"`,
		`"ak_cert":"AA==","intermediate_certs":["AA=="],"canonical_event_log":"AA==","TeeAttestation":{"SevSnpAttestation":{}},"ak_pub"`, 1)
	v := verify.New(policy(t, honest()), attestation.BindHashChain, nil, nil)
	require.NoError(t, v.Validate(t.Context(), []byte(raw), userData, nonce))
}

// refusal is one thing wrong with an otherwise good document.
type refusal struct {
	prover   func(*prover)
	document func(*attestation.Document)
	raw      func(string) string
	kind     error
	text     string
}

func sha256Of(d *attestation.Document) *attestation.Quote { return &d.Attestation.Quotes[0] }

func TestRefusesMachines(t *testing.T) {
	cases := map[string]refusal{
		"PCR 15 extended where zero is expected": {prover: func(p *prover) { p.banks[tpm2.AlgSHA256][15] = other },
			kind: verify.ErrMeasurement, text: fmt.Sprintf("measurement 15 differs: expected %x, got %x", zero, other)},
		"two differences": {prover: func(p *prover) { p.banks[tpm2.AlgSHA256][4], p.banks[tpm2.AlgSHA256][11] = other, other },
			kind: verify.ErrMeasurement, text: fmt.Sprintf("got %x; measurement 11 differs", other)},
		"SHA-1 bank only": {prover: func(p *prover) {
			p.banks = map[tpm2.Algorithm]map[int][]byte{tpm2.AlgSHA1: {15: make([]byte, 20)}}
		}, kind: verify.ErrQuote, text: "no quote of the SHA-256 bank, only of the TPM algorithms [4]"},
		"no banks": {prover: func(p *prover) { p.banks = nil },
			kind: verify.ErrDocument, text: "quotes"},
		"unlisted PCR not quoted": {prover: func(p *prover) { delete(p.banks[tpm2.AlgSHA256], 23) },
			kind: verify.ErrQuote, text: "PCR 23 has 0 bytes"},
		"expected PCR not quoted": {prover: func(p *prover) { delete(p.banks[tpm2.AlgSHA256], 15) },
			kind: verify.ErrQuote, text: "PCR 15 has 0 bytes"},
		"short PCR": {prover: func(p *prover) { p.banks[tpm2.AlgSHA256][3] = other[1:] },
			kind: verify.ErrQuote, text: "PCR 3 has 31 bytes"},
		"bytes moved between PCRs": {prover: func(p *prover) {
			p.banks[tpm2.AlgSHA256][3], p.banks[tpm2.AlgSHA256][5] = slices.Concat(value(3), value(5)), []byte{}
		}, kind: verify.ErrQuote, text: "PCR 3 has 64 bytes"},
		"quote of other PCRs": {prover: func(p *prover) {
			p.attest = func(d *tpm2.AttestationData) { d.AttestedQuoteInfo.PCRSelection.PCRs = []int{0, 1} }
		}, kind: verify.ErrQuote, text: "PCR selection"},
		"quote of another bank": {prover: func(p *prover) {
			p.attest = func(d *tpm2.AttestationData) { d.AttestedQuoteInfo.PCRSelection.Hash = tpm2.AlgSHA1 }
		}, kind: verify.ErrQuote, text: "PCR selection"},
		"not made by a TPM": {prover: func(p *prover) { p.attest = func(d *tpm2.AttestationData) { d.Magic++ } },
			kind: verify.ErrQuote, text: "magic"},
		"a statement that is no quote": {prover: func(p *prover) {
			p.attest = func(d *tpm2.AttestationData) {
				d.Type = tpm2.TagAttestCreation
				d.AttestedCreationInfo = &tpm2.CreationInfo{Name: d.QualifiedSigner}
			}
		}, kind: verify.ErrQuote, text: "expected quote tag"},
	}
	for i, name := range []string{"restricted", "sign", "fixedTPM", "fixedParent", "sensitiveDataOrigin"} {
		flag := []tpm2.KeyProp{tpm2.FlagRestricted, tpm2.FlagSign, tpm2.FlagFixedTPM, tpm2.FlagFixedParent, tpm2.FlagSensitiveDataOrigin}[i]
		cases["key is not "+name] = refusal{prover: func(p *prover) { p.area.Attributes &^= flag },
			kind: verify.ErrKey, text: "attribute " + name + " is not set"}
	}
	run(t, cases)
}

func TestRefusesKeys(t *testing.T) {
	run(t, map[string]refusal{
		"RSA of 1024 bits": {prover: func(p *prover) {
			p.area.RSAParameters.ModulusRaw, p.area.RSAParameters.KeyBits = p.area.RSAParameters.ModulusRaw[:128], 1024
		}, kind: verify.ErrKey, text: "RSA with 1024 bits"},
		"RSA of 2048 bits that claims 3072": {prover: func(p *prover) { p.area.RSAParameters.KeyBits = 3072 },
			kind: verify.ErrKey, text: "RSA with 2048 bits (3072 claimed)"},
		"RSA of 16384 bits": {prover: func(p *prover) {
			p.area.RSAParameters.ModulusRaw, p.area.RSAParameters.KeyBits = slices.Repeat(p.area.RSAParameters.ModulusRaw, 8), 16384
		}, kind: verify.ErrKey, text: "RSA with 16384 bits"},
		"exponent 1":   {prover: func(p *prover) { p.area.RSAParameters.ExponentRaw = 1 }, kind: verify.ErrKey, text: "exponent is 1"},
		"RSAPSS":       {prover: func(p *prover) { p.area.RSAParameters.Sign.Alg = tpm2.AlgRSAPSS }, kind: verify.ErrKey, text: "want RSASSA"},
		"RSASSA-SHA-1": {prover: func(p *prover) { p.area.RSAParameters.Sign.Hash = tpm2.AlgSHA1 }, kind: verify.ErrKey, text: "want RSASSA"},
		"no scheme":    {prover: func(p *prover) { p.area.RSAParameters.Sign = nil }, kind: verify.ErrKey, text: "want RSASSA"},
		"elliptic curve": {prover: func(p *prover) {
			p.area.Type, p.area.ECCParameters = tpm2.AlgECC, &tpm2.ECCParams{CurveID: tpm2.CurveNISTP256}
		}, kind: verify.ErrKey, text: "want RSA"},
		"bytes after the key": {document: func(d *attestation.Document) { d.Attestation.AKPub = append(d.Attestation.AKPub, 0) },
			kind: verify.ErrKey, text: "do not belong"},
		"half a key": {document: func(d *attestation.Document) { d.Attestation.AKPub = d.Attestation.AKPub[:20] },
			kind: verify.ErrKey},
		"no key": {document: func(d *attestation.Document) { d.Attestation.AKPub = []byte{} },
			kind: verify.ErrKey},
	})
}

func TestRefusesDocuments(t *testing.T) {
	run(t, map[string]refusal{
		// The forgery that compares the PCRs of one bank and verifies the quote
		// of another: the SHA-512 quote stays genuine.
		"SHA-256 bank forged, stronger bank genuine": {
			prover: func(p *prover) { p.banks[tpm2.AlgSHA256][15] = other },
			document: func(d *attestation.Document) {
				q := sha256Of(d)
				q.PCRs.PCRs[15], q.Quote, q.RawSig = zero, []byte("garbage"), []byte("garbage")
			}, kind: verify.ErrQuote},
		"SHA-256 values forged, quote genuine": {
			prover:   func(p *prover) { p.banks[tpm2.AlgSHA256][15] = other },
			document: func(d *attestation.Document) { sha256Of(d).PCRs.PCRs[15] = zero },
			kind:     verify.ErrQuote, text: "digest"},
		"quote of another bank in its place": {document: func(d *attestation.Document) {
			sha256Of(d).Quote, sha256Of(d).RawSig = d.Attestation.Quotes[1].Quote, d.Attestation.Quotes[1].RawSig
		}, kind: verify.ErrQuote, text: "PCR selection"},
		"two SHA-256 quotes": {document: func(d *attestation.Document) {
			d.Attestation.Quotes = append(d.Attestation.Quotes, *sha256Of(d))
		}, kind: verify.ErrDocument, text: "second quote of bank 11"},
		"two SHA-512 quotes": {document: func(d *attestation.Document) {
			d.Attestation.Quotes = append(d.Attestation.Quotes, d.Attestation.Quotes[1])
		}, kind: verify.ErrDocument, text: "second quote of bank 13"},
		"25th PCR": {document: func(d *attestation.Document) { sha256Of(d).PCRs.PCRs[24] = zero },
			kind: verify.ErrDocument, text: "PCR 24 does not exist"},
		"signature broken": {document: func(d *attestation.Document) { sha256Of(d).RawSig[40] ^= 1 },
			kind: verify.ErrQuote, text: "signature verification failed"},
		"signature of another scheme": {document: func(d *attestation.Document) { sha256Of(d).RawSig[1] = 0x16 },
			kind: verify.ErrQuote, text: "not RSASSA with SHA-256"},
		"signature with another hash": {document: func(d *attestation.Document) { sha256Of(d).RawSig[3] = 0x0d },
			kind: verify.ErrQuote, text: "not RSASSA with SHA-256"},
		"signature cut": {document: func(d *attestation.Document) { sha256Of(d).RawSig = sha256Of(d).RawSig[:100] },
			kind: verify.ErrQuote},
		"user data of another TLS key": {document: func(d *attestation.Document) { d.UserData = other },
			kind: verify.ErrBinding, text: "it is for user data cccc"},
		"instance info": {prover: func(p *prover) { p.info = []byte("{}") },
			kind: verify.ErrDocument, text: "instance info of 2 bytes"},
		"instance info that is not in the quote": {document: func(d *attestation.Document) { d.InstanceInfo = []byte("{}") },
			kind: verify.ErrBinding, text: "quote is over"},
		"user data signature of release 2.1": {document: func(d *attestation.Document) { d.UserDataSignature = []byte{1} },
			kind: verify.ErrDocument, text: "release 2.1"},
	})
}

func run(t *testing.T, cases map[string]refusal) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newProver()
			if c.prover != nil {
				c.prover(p)
			}
			d := p.document(t, attestation.BindHashChain, userData, nonce)
			if c.document != nil {
				c.document(&d)
			}
			raw := marshal(t, d)
			if c.raw != nil {
				changed := c.raw(string(raw))
				require.NotEqual(t, string(raw), changed, "the row changes nothing")
				raw = []byte(changed)
			}
			v := verify.New(policy(t, honest()), attestation.BindHashChain, nil, nil)
			err := v.Validate(t.Context(), raw, userData, nonce)
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.text)
		})
	}
}

func TestRefusesOtherBindings(t *testing.T) {
	cases := map[string]struct {
		made, wanted attestation.Binding
		document     func(*attestation.Document)
		nonce        []byte
		kind         error
		text         string
	}{
		"stale nonce":         {attestation.BindHashChain, attestation.BindHashChain, nil, other, verify.ErrBinding, "quote is over"},
		"stale nonce, 2.1":    {attestation.BindSigned, attestation.BindSigned, nil, other, verify.ErrBinding, "quote is over bbbb"},
		"no nonce":            {attestation.BindHashChain, attestation.BindHashChain, nil, nil, verify.ErrBinding, "nonce of 0"},
		"2.1 where 2.24":      {attestation.BindSigned, attestation.BindHashChain, nil, nonce, verify.ErrDocument, "release 2.1"},
		"2.24 where 2.1":      {attestation.BindHashChain, attestation.BindSigned, nil, nonce, verify.ErrBinding, "user data signature"},
		"2.1, key unsigned":   {attestation.BindSigned, attestation.BindSigned, func(d *attestation.Document) { d.UserDataSignature = nil }, nonce, verify.ErrBinding, "user data signature"},
		"2.1, other key's":    {attestation.BindSigned, attestation.BindSigned, func(d *attestation.Document) { d.UserDataSignature[9] ^= 1 }, nonce, verify.ErrBinding, "user data signature"},
		"2.1, other TLS key":  {attestation.BindSigned, attestation.BindSigned, func(d *attestation.Document) { d.UserData = other }, nonce, verify.ErrBinding, "it is for user data"},
		"2.1, unsigned, 2.24": {attestation.BindSigned, attestation.BindHashChain, func(d *attestation.Document) { d.UserDataSignature = nil }, nonce, verify.ErrBinding, "quote is over"},
		"no binding":          {attestation.BindHashChain, 0, nil, nonce, verify.ErrBinding, "unknown binding 0"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newProver().document(t, c.made, userData, nonce)
			if c.document != nil {
				c.document(&d)
			}
			v := verify.New(policy(t, honest()), c.wanted, nil, nil)
			err := v.Validate(t.Context(), marshal(t, d), userData, c.nonce)
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.text)
		})
	}
}

func TestRefusesUnpinnedKeys(t *testing.T) {
	v := verify.New(policy(t, honest(), [32]byte(other)), attestation.BindHashChain, nil, nil)
	p := newProver()
	err := v.Validate(t.Context(), marshal(t, p.document(t, attestation.BindHashChain, userData, nonce)), userData, nonce)
	require.ErrorIs(t, err, verify.ErrKey)
	assert.ErrorContains(t, err, fmt.Sprintf("%x is not among the 1 trusted ones", p.fingerprint(t)))
}

func TestZeroPolicyRefuses(t *testing.T) {
	v := verify.New(verify.Policy{}, attestation.BindHashChain, nil, nil)
	raw := marshal(t, newProver().document(t, attestation.BindHashChain, userData, nonce))
	assert.ErrorIs(t, v.Validate(t.Context(), raw, userData, nonce), verify.ErrPolicy)
}

func TestWarnsOnly(t *testing.T) {
	expected := honest()
	expected[0] = verify.Measurement{Expected: other, WarnOnly: true}
	expected[1] = verify.Measurement{Expected: value(1), WarnOnly: true}
	var warnings []string
	v := verify.New(policy(t, expected), attestation.BindHashChain, nil, func(_ context.Context, s string) { warnings = append(warnings, s) })
	raw := marshal(t, newProver().document(t, attestation.BindHashChain, userData, nonce))
	require.NoError(t, v.Validate(t.Context(), raw, userData, nonce))
	assert.Equal(t, []string{fmt.Sprintf("measurement 0 differs: expected %x, got %x", other, zero)}, warnings)
}

func TestOversizeDocument(t *testing.T) {
	raw := marshal(t, newProver().document(t, attestation.BindHashChain, userData, nonce))
	v := verify.New(policy(t, honest()), attestation.BindHashChain, nil, nil)
	padded := append(raw, bytes.Repeat([]byte{' '}, attestation.MaxDocument-len(raw))...)
	require.NoError(t, v.Validate(t.Context(), padded, userData, nonce))
	err := v.Validate(t.Context(), append(padded, ' '), userData, nonce)
	require.ErrorIs(t, err, verify.ErrDocument)
	assert.ErrorContains(t, err, "204801 bytes")
}
