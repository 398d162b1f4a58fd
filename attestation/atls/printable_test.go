package atls

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maxPrinted is how many bytes of text one refused peer may cause.
const maxPrinted = 2 << 10

// screen is what a terminal would act upon.
const screen = "\x1b[2J\x1b[HPushed recovery key.\r\n\u202e\u009b"

func requirePrintable(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	require.LessOrEqual(t, len(text), maxPrinted)
	for _, r := range text {
		require.True(t, unicode.IsPrint(r), "%q in %q", r, text)
	}
}

// longOID is one whose text has some 900 KB.
func longOID() asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 3, 9900}, slices.Repeat([]int{127}, 224<<10)...)
}

// TestWhatAPeerWroteIsBounded: whatever is in a certificate, its text is short and
// moves no cursor, on both sides.
func TestWhatAPeerWroteIsBounded(t *testing.T) {
	hostile := map[string]forge{
		"OID without end": {change: func(c *x509.Certificate, d []byte) { c.ExtraExtensions[0].Id = longOID() }, want: "refused (variant): attestation variant is not accepted: OID 1.3.9900.127.127"},
		"OID of large arcs": {change: func(c *x509.Certificate, d []byte) {
			c.ExtraExtensions[0].Id = append(asn1.ObjectIdentifier{1, 3, 9900}, slices.Repeat([]int{1<<31 - 1}, 15)...)
		}, want: "refused (variant)"},
		"names for the terminal": {change: func(c *x509.Certificate, d []byte) {
			c.Subject.CommonName, c.ExtraExtensions = screen, nil
			c.URIs = []*url.URL{{Scheme: "http", Host: "x", Path: screen}}
		}, want: "no attestation document"},
		"alternative names that the library quotes": {change: func(c *x509.Certificate, d []byte) {
			c.ExtraExtensions = append(c.ExtraExtensions, ext(asn1.ObjectIdentifier{2, 5, 29, 17}, alternativeName(t, screen+strings.Repeat("a", 200<<10))))
		}, want: `x509: cannot parse URI "http://[`},
		"what the validator says": {change: func(c *x509.Certificate, d []byte) { d[0] ^= 1 }, want: errUnbound.Error()},
	}
	for name, f := range hostile {
		t.Run("server: "+name, func(t *testing.T) {
			clientRaw, serverRaw := pair(t)
			config := newConfig()
			config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				peer, err := clientNonce(hello)
				return f.certificate(t, peer), err
			}
			go func() { _ = tls.Server(serverRaw, config).Handshake() }()
			_, _, err := ClientCredentials(Unattested, Require(new(machine))).ClientHandshake(t.Context(), "", clientRaw)
			f.judge(t, err)
			requirePrintable(t, err)
		})
		t.Run("client: "+name, func(t *testing.T) {
			clientRaw, serverRaw := pair(t)
			config := newConfig()
			config.ServerName, config.InsecureSkipVerify = newNonce().String(), true
			config.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				peer, err := serverNonce(request)
				return f.certificate(t, peer), err
			}
			go func() {
				_, _ = tls.Client(clientRaw, config).Read(make([]byte, 1))
				_ = clientRaw.Close()
			}()
			_, _, err := ServerCredentials(new(machine), Require(new(machine))).ServerHandshake(serverRaw)
			f.judge(t, err)
			requirePrintable(t, err)
		})
	}
}

// alternativeName is an extension with one URI that the library cannot parse.
func alternativeName(t *testing.T, uri string) []byte {
	t.Helper()
	der, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte("http://[" + strings.Map(func(r rune) rune {
		if r > 127 {
			return '?'
		}
		return r
	}, uri))}})
	require.NoError(t, err)
	return der
}

// FuzzRefusedPeer: certificates, nonces and names of a peer, in what is printed.
func FuzzRefusedPeer(f *testing.F) {
	key, err := x509.MarshalPKIXPublicKey(newKey(f).Public())
	require.NoError(f, err)
	template := newTemplate()
	template.ExtraExtensions = append(template.ExtraExtensions, ext(attestation.QEMUVTPM.OID(), []byte("{}")))
	signer := newKey(f)
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	require.NoError(f, err)
	f.Add(der, "x")
	f.Add(key, screen)
	f.Add([]byte{}, strings.Repeat("A", 44<<10))
	f.Fuzz(func(t *testing.T, der []byte, name string) {
		_, err := parseNonce(name)
		requirePrintable(t, err)
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			requirePrintable(t, failed(err))
			certificate = &x509.Certificate{Raw: der, RawSubjectPublicKeyInfo: der}
		}
		own := nonce(sha256.Sum256(der))
		err = Require(new(machine)).check(context.Background(), []*x509.Certificate{certificate}, own)
		assert.ErrorIs(t, err, ErrRefused)
		requirePrintable(t, failed(err))
	})
}
