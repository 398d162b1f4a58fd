package atls

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var otherOID = asn1.ObjectIdentifier{1, 3, 9900, 4, 1}

// forge makes a certificate with one thing wrong with it. The document for the
// peer's nonce is in document; key is the certificate's.
type forge struct {
	change func(c *x509.Certificate, document []byte)
	key    func(testing.TB) crypto.Signer
	signer func(testing.TB) crypto.Signer
	proof  func(testing.TB) crypto.Signer // of the possession of key
	chain  int
	nonce  func(nonce) nonce
	want   string // empty: accepted
}

func (f forge) certificate(t testing.TB, peer nonce) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	if f.key != nil {
		key = f.key(t)
	}
	signer := key
	if f.signer != nil {
		signer = f.signer(t)
	}
	if f.nonce != nil {
		peer = f.nonce(peer)
	}
	public := key.Public()
	template := newTemplate()
	spki, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	userData := sha256.Sum256(spki)
	document := bindingOf(userData[:], peer[:])
	template.ExtraExtensions = []pkix.Extension{{Id: attestation.QEMUVTPM.OID(), Value: document}}
	if f.change != nil {
		f.change(template, document)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
	require.NoError(t, err)
	chain := [][]byte{der}
	for range f.chain {
		chain = append(chain, der)
	}
	if f.proof != nil {
		key = liar{key, f.proof(t)}
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func ext(oid asn1.ObjectIdentifier, value []byte) pkix.Extension {
	return pkix.Extension{Id: oid, Value: value}
}

var forgeries = map[string]forge{
	"nothing wrong": {},
	"A11: expired, but the clock is the host's": {change: func(c *x509.Certificate, _ []byte) {
		c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Unix(1, 0)
	}},
	"A11: not valid yet, likewise": {change: func(c *x509.Certificate, _ []byte) {
		c.NotBefore, c.NotAfter = time.Now().AddDate(9, 0, 0), time.Now().AddDate(10, 0, 0)
	}},
	"foreign extension beside": {change: func(c *x509.Certificate, d []byte) {
		c.ExtraExtensions = append(c.ExtraExtensions, ext(asn1.ObjectIdentifier{1, 3, 9901, 5, 1}, d))
	}},
	"A5: no document":     {change: func(c *x509.Certificate, _ []byte) { c.ExtraExtensions = nil }, want: "refused (document): certificate has no attestation document"},
	"A4: another variant": {change: func(c *x509.Certificate, _ []byte) { c.ExtraExtensions[0].Id = otherOID }, want: `refused (variant): attestation variant is not accepted: OID 1.3.9900.4.1, want one of ["qemu-vtpm"]`},
	"A4: two, good first": {change: func(c *x509.Certificate, d []byte) { c.ExtraExtensions = append(c.ExtraExtensions, ext(otherOID, d)) }, want: "refused (certificate): bad certificate: it has 2 attestation documents"},
	"A4: two, good second": {change: func(c *x509.Certificate, d []byte) {
		c.ExtraExtensions = append([]pkix.Extension{ext(otherOID, d)}, c.ExtraExtensions...)
	}, want: "refused (certificate): bad certificate: it has 2 attestation documents"},
	"A4: the same variant twice": {change: func(c *x509.Certificate, d []byte) {
		c.ExtraExtensions = append(c.ExtraExtensions, c.ExtraExtensions[0])
	}, want: "duplicate extension"},
	"A6: oversize document": {change: func(c *x509.Certificate, d []byte) {
		c.ExtraExtensions[0].Value = append(d, make([]byte, attestation.MaxDocument-len(d)+1)...)
	}, want: "refused (document): attestation document is too long: 204801 bytes"},
	"empty document":                      {change: func(c *x509.Certificate, _ []byte) { c.ExtraExtensions[0].Value = nil }, want: errUnbound.Error()},
	"A8, A16: document of another key":    {change: func(c *x509.Certificate, d []byte) { d[0] ^= 1 }, want: errUnbound.Error()},
	"A1: replayed, other nonce":           {nonce: func(nonce) nonce { return newNonce() }, want: errUnbound.Error()},
	"A12: signed by another key":          {signer: newKey, want: "refused (certificate): bad certificate: it is not signed by its own key"},
	"A12: chain of two":                   {chain: 1, want: "refused (certificate): bad certificate: chain of 2 certificates"},
	"A12: RSA key":                        {key: rsaKey, want: "not ECDSA P-256"},
	"A12: key on another curve":           {key: p384Key, want: "not ECDSA P-256"},
	"A16: certificate of somebody else's": {proof: newKey, want: "invalid signature"},
}

func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

func p384Key(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	return key
}

func TestForgedServers(t *testing.T) {
	for name, f := range forgeries {
		t.Run(name, func(t *testing.T) {
			clientRaw, serverRaw := pair(t)
			config := newConfig()
			config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				peer, err := clientNonce(hello)
				return f.certificate(t, peer), err
			}
			go func() { _ = tls.Server(serverRaw, config).Handshake() }()
			_, _, err := ClientCredentials(Unattested, Require(new(machine))).ClientHandshake(t.Context(), "", clientRaw)
			f.judge(t, err)
		})
	}
}

func TestForgedClients(t *testing.T) {
	for name, f := range forgeries {
		t.Run(name, func(t *testing.T) {
			clientRaw, serverRaw := pair(t)
			config := newConfig()
			config.ServerName, config.InsecureSkipVerify = newNonce().String(), true
			config.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				peer, err := serverNonce(request)
				return f.certificate(t, peer), err
			}
			go func() {
				_, _ = tls.Client(clientRaw, config).Read(make([]byte, 1)) // until the alert
				_ = clientRaw.Close()
			}()
			_, _, err := ServerCredentials(new(machine), Require(new(machine))).ServerHandshake(serverRaw)
			f.judge(t, err)
		})
	}
}

func (f forge) judge(t *testing.T, err error) {
	t.Helper()
	if f.want == "" {
		require.NoError(t, err)
		return
	}
	assert.ErrorContains(t, err, f.want)
}

// A2
func TestServerWantsANonce(t *testing.T) {
	full := newNonce().String()
	for name, serverName := range map[string]string{
		"none":               "",
		"host name":          "node.example",
		"31 bytes":           base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"33 bytes":           base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"64 bytes":           base64.StdEncoding.EncodeToString(make([]byte, 64)),
		"44 KiB":             strings.Repeat("A", 44<<10),
		"bad base64":         "!" + full[1:],
		"URL alphabet":       strings.Repeat("_", 42) + "8=",
		"no padding":         strings.TrimSuffix(full, "="),
		"spare bits":         strings.Repeat("A", 42) + "B=",
		"line break between": full[:20] + "\n" + full[20:],
	} {
		t.Run(name, func(t *testing.T) {
			for _, self := range []attestation.Issuer{new(machine), Unattested} {
				clientRaw, serverRaw := pair(t)
				config := newConfig()
				config.ServerName, config.InsecureSkipVerify = serverName, true
				alert := make(chan error, 1)
				go func() { alert <- tls.Client(clientRaw, config).Handshake() }()
				_, _, err := ServerCredentials(self, AcceptAnyPeer).ServerHandshake(serverRaw)
				require.ErrorIs(t, err, ErrNonce)
				assert.Error(t, <-alert)
			}
		})
	}
}

// A3
func TestClientWantsANonce(t *testing.T) {
	named := func(name pkix.RDNSequence) []byte {
		der, err := asn1.Marshal(name)
		require.NoError(t, err)
		return der
	}
	common := func(s string) []byte { return named(pkix.Name{CommonName: s}.ToRDNSequence()) }
	good := common(newNonce().String())
	for name, c := range map[string]struct {
		authorities [][]byte
		want        string
	}{
		"none":               {nil, "names 0 authorities"},
		"two":                {[][]byte{good, good}, "names 2 authorities"},
		"no common name":     {[][]byte{named(pkix.Name{Organization: []string{"o"}}.ToRDNSequence())}, "is not the base64"},
		"not a string":       {[][]byte{named(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: 7}}})}, "is not the base64"},
		"31 bytes":           {[][]byte{common(base64.StdEncoding.EncodeToString(make([]byte, 31)))}, "is not the base64"},
		"64 KiB":             {[][]byte{common(strings.Repeat("A", 64<<10))}, "is not the base64"},
		"not a name":         {[][]byte{{0x04, 0x00}}, "malformed authority"},
		"empty":              {[][]byte{{}}, "malformed authority"},
		"bytes after a name": {[][]byte{append(good, 0)}, "malformed authority"},
	} {
		t.Run(name, func(t *testing.T) {
			config := ClientCredentials(new(machine), AcceptAnyPeer).(client).config(t.Context())
			_, err := config.GetClientCertificate(&tls.CertificateRequestInfo{AcceptableCAs: c.authorities})
			require.ErrorIs(t, err, ErrNonce)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestNonceOverTheWire(t *testing.T) {
	for _, n := range []nonce{{}, nonce([]byte(strings.Repeat("\xff", 32))), nonce([]byte(strings.Repeat("\xfb\xef\xbe", 11)[:32])), newNonce()} {
		serverRaw := dialAsking(t, n)
		var got nonce
		config := newConfig()
		config.GetCertificate = func(hello *tls.ClientHelloInfo) (_ *tls.Certificate, err error) {
			got, err = clientNonce(hello)
			require.NoError(t, err)
			return certify(context.Background(), Unattested, got)
		}
		require.NoError(t, tls.Server(serverRaw, config).Handshake())
		assert.Equal(t, n, got)
	}
}
