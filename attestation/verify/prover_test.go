package verify_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"disk-mapper/attestation"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"
	"github.com/stretchr/testify/require"
)

// prover makes documents in software, so that each part of them can be wrong
// and still be signed. It is also the proof that a document without a pinned
// key says nothing about hardware.
type prover struct {
	key   *rsa.PrivateKey
	area  tpm2.Public
	banks map[tpm2.Algorithm]map[int][]byte
	info  []byte
	// attest, if set, changes what is about to be signed as a quote.
	attest func(*tpm2.AttestationData)
}

var softwareKey, otherSoftwareKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// useOtherKey makes the quotes those of another key.
func (p *prover) useOtherKey() {
	p.key = otherSoftwareKey()
	p.area.RSAParameters.ModulusRaw = p.key.N.Bytes()
}

// newProver has an honest key and two banks: the SHA-256 bank, with PCR i full
// of bytes i but 15, which is zero, and SHA-512, which is stronger.
func newProver() *prover {
	area := client.AKTemplateRSA()
	area.RSAParameters.ModulusRaw = softwareKey().N.Bytes()
	p := &prover{key: softwareKey(), area: area, banks: map[tpm2.Algorithm]map[int][]byte{
		tpm2.AlgSHA256: {}, tpm2.AlgSHA512: {},
	}}
	for i := range attestation.PCRs {
		p.banks[tpm2.AlgSHA256][i] = value(i)
		p.banks[tpm2.AlgSHA512][i] = slices.Repeat([]byte{byte(i)}, 64)
	}
	return p
}

// value is what PCR i of a new prover holds.
func value(i int) []byte {
	if i == 15 {
		i = 0
	}
	return slices.Repeat([]byte{byte(i)}, sha256.Size)
}

func (p *prover) document(t testing.TB, binding attestation.Binding, userData, nonce []byte) attestation.Document {
	t.Helper()
	qualifying, err := binding.QualifyingData(userData, nonce, p.info)
	require.NoError(t, err)
	public, err := p.area.Encode()
	require.NoError(t, err)
	d := attestation.Document{UserData: userData, InstanceInfo: p.info}
	d.Attestation.AKPub = public
	for _, bank := range []tpm2.Algorithm{tpm2.AlgSHA1, tpm2.AlgSHA256, tpm2.AlgSHA512} {
		if pcrs, ok := p.banks[bank]; ok {
			d.Attestation.Quotes = append(d.Attestation.Quotes, p.quote(t, bank, pcrs, qualifying))
		}
	}
	if binding == attestation.BindSigned {
		d.UserDataSignature = p.sign(t, userData)
	}
	return d
}

func (p *prover) quote(t testing.TB, bank tpm2.Algorithm, pcrs map[int][]byte, qualifying []byte) attestation.Quote {
	t.Helper()
	hash := sha256.New()
	selection := tpm2.PCRSelection{Hash: bank}
	for i := range attestation.PCRs {
		if digest, ok := pcrs[i]; ok {
			selection.PCRs = append(selection.PCRs, i)
			hash.Write(digest)
		}
	}
	data := tpm2.AttestationData{
		Magic:             0xff544347,
		Type:              tpm2.TagAttestQuote,
		QualifiedSigner:   tpm2.Name{Digest: &tpm2.HashValue{Alg: tpm2.AlgSHA256, Value: make([]byte, sha256.Size)}},
		ExtraData:         qualifying,
		AttestedQuoteInfo: &tpm2.QuoteInfo{PCRSelection: selection, PCRDigest: hash.Sum(nil)},
	}
	if p.attest != nil {
		p.attest(&data)
	}
	raw, err := data.Encode()
	require.NoError(t, err)
	signature, err := tpmutil.Pack(tpm2.AlgRSASSA, tpm2.AlgSHA256, tpmutil.U16Bytes(p.sign(t, raw)))
	require.NoError(t, err)
	return attestation.Quote{Quote: raw, RawSig: signature, PCRs: attestation.Bank{Hash: uint16(bank), PCRs: pcrs}}
}

func (p *prover) sign(t testing.TB, data []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(data)
	signature, err := rsa.SignPKCS1v15(nil, p.key, crypto.SHA256, digest[:])
	require.NoError(t, err)
	return signature
}

func (p *prover) fingerprint(t testing.TB) [32]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&p.key.PublicKey)
	require.NoError(t, err)
	return sha256.Sum256(der)
}

func marshal(t testing.TB, d attestation.Document) []byte {
	t.Helper()
	raw, err := json.Marshal(d)
	require.NoError(t, err)
	return raw
}
