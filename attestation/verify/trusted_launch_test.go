package verify_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() {
	policyOf[attestation.AzureTrustedLaunch] = `{"variant":"azure-trustedlaunch","measurements":{"15":"` + strings.Repeat("00", 32) +
		`"},"akRoots":["` + base64.StdEncoding.EncodeToString(newChain(nil).root) + `"]}`
}

// azureChain is shaped as Azure's: the root has expired, the names of the key are
// of a form that the library does not know, and critical.
type azureChain struct{ root, issuer, certificate []byte }

// link is about to be signed.
type link struct{ root, issuer, certificate *x509.Certificate }

func template(name string, ca bool) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: ca, KeyUsage: x509.KeyUsageCertSign,
	}
}

var azureRootKey, azureIssuerKey = newKey(), newKey()

// newChain certifies softwareKey, otherwise as change says.
func newChain(change func(*link)) azureChain { return chainFor(&softwareKey().PublicKey, change) }

func chainFor(key crypto.PublicKey, change func(*link)) azureChain {
	l := link{template("root", true), template("issuer", true), template("key", false)}
	l.root.NotBefore, l.root.NotAfter = time.Date(2001, 5, 24, 0, 0, 0, 0, time.UTC), time.Date(2026, 5, 24, 0, 0, 0, 0, time.UTC)
	l.certificate.KeyUsage = x509.KeyUsageDigitalSignature
	directory, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte{0xa4, 2, 0x30, 0}})
	l.certificate.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: directory}}
	if change != nil {
		change(&l)
	}
	return azureChain{
		certified(l.root, l.root, &azureRootKey.PublicKey, azureRootKey),
		certified(l.issuer, l.root, &azureIssuerKey.PublicKey, azureRootKey),
		certified(l.certificate, l.issuer, key, azureIssuerKey),
	}
}

func certified(certificate, by *x509.Certificate, key crypto.PublicKey, signer *rsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, certificate, by, key, signer)
	if err != nil {
		panic(err)
	}
	return der
}

func TestTrustedLaunch(t *testing.T) {
	yesterday, tomorrow := time.Now().Add(-24*time.Hour), time.Now().Add(24*time.Hour)
	honest := newChain(nil)
	for name, c := range map[string]struct {
		chain  azureChain
		change func(*instance.TrustedLaunch)
		prover func(*prover)
		policy func(string) string
		kind   error // nil means accepted
		text   string
	}{
		"root has expired":     {chain: honest},
		"one of two roots":     {chain: honest, policy: replace(`"akRoots":[`, `"akRoots":["`+base64.StdEncoding.EncodeToString(fakeAMD().Ark.Raw)+`",`)},
		"another root":         {chain: honest, policy: withRoot(fakeAMD().Ark.Raw), kind: verify.ErrKey, text: "unknown authority"},
		"issuer as root":       {chain: azureChain{issuer: honest.root, certificate: certified(template("key", false), template("issuer", true), &softwareKey().PublicKey, azureIssuerKey)}, kind: verify.ErrKey, text: "unknown authority"},
		"root is not yet":      {chain: honest, policy: withRoot(newChain(func(l *link) { l.root.NotBefore, l.root.NotAfter = tomorrow, tomorrow }).root), kind: verify.ErrKey, text: "is before"},
		"issuer has expired":   {chain: newChain(func(l *link) { l.issuer.NotAfter = yesterday }), kind: verify.ErrKey, text: "expired"},
		"issuer may not sign":  {chain: newChain(func(l *link) { l.issuer.IsCA = false }), kind: verify.ErrKey, text: "cannot sign this kind of certificate"},
		"key has expired":      {chain: newChain(func(l *link) { l.certificate.NotAfter = yesterday }), kind: verify.ErrKey, text: "expired"},
		"key is not yet":       {chain: newChain(func(l *link) { l.certificate.NotBefore = tomorrow }), kind: verify.ErrKey, text: "is before"},
		"critical extension":   {chain: newChain(func(l *link) { l.certificate.ExtraExtensions[0].Id = asn1.ObjectIdentifier{1, 2, 3} }), kind: verify.ErrKey, text: "unhandled critical"},
		"another key":          {chain: honest, prover: (*prover).useOtherKey, kind: verify.ErrKey, text: "it is not the one in its certificate"},
		"no certificate":       {chain: honest, change: func(i *instance.TrustedLaunch) { i.AkCert = []byte("x") }, kind: verify.ErrDocument, text: "certificate of the key: x509"},
		"bytes after it":       {chain: honest, change: func(i *instance.TrustedLaunch) { i.AkCert = append(i.AkCert, 0) }, kind: verify.ErrDocument, text: "certificate of the key: x509: trailing data"},
		"no issuer":            {chain: honest, change: func(i *instance.TrustedLaunch) { i.CA = nil }, kind: verify.ErrDocument, text: `"/CA" is null`},
		"issuer is garbage":    {chain: honest, change: func(i *instance.TrustedLaunch) { i.CA = []byte("x") }, kind: verify.ErrDocument, text: "certificate of the key's issuer: x509"},
		"no info":              {chain: honest, prover: func(p *prover) { p.info = nil }, kind: verify.ErrDocument, text: "instance info: JSON is malformed"},
		"self-made, same name": {chain: azureChain{issuer: certified(template("issuer", true), template("root", true), &azureIssuerKey.PublicKey, azureIssuerKey), certificate: honest.certificate}, kind: verify.ErrKey, text: "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProver()
			info := instance.TrustedLaunch{AkCert: c.chain.certificate, CA: c.chain.issuer}
			if c.change != nil {
				c.change(&info)
			}
			var err error
			p.info, err = json.Marshal(info)
			require.NoError(t, err)
			if c.prover != nil {
				c.prover(p)
			}
			text := policyOf[attestation.AzureTrustedLaunch]
			if c.policy != nil {
				text = c.policy(text)
			}
			policy, err := verify.ParsePolicy([]byte(text))
			require.NoError(t, err)
			raw := marshal(t, p.document(t, attestation.BindHashChain, userData, nonce))
			err = verify.New(policy, attestation.BindHashChain, nil, nil).Validate(t.Context(), raw, userData, nonce)
			if c.kind == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.text)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

// withRoot has one root, and no other.
func withRoot(der []byte) func(string) string {
	return func(s string) string {
		return s[:strings.Index(s, `"akRoots"`)] + `"akRoots":["` + base64.StdEncoding.EncodeToString(der) + `"]}`
	}
}
