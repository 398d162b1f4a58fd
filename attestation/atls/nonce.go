package atls

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"

	"disk-mapper/attestation"
	"disk-mapper/internal/printable"
)

// nonce is what one side demands to see in the other side's document.
type nonce [attestation.NonceSize]byte

func newNonce() (n nonce) {
	_, _ = rand.Read(n[:]) // never fails, by its contract
	return n
}

func (n nonce) String() string { return base64.StdEncoding.EncodeToString(n[:]) }

// parseNonce accepts the one form that String prints.
func parseNonce(s string) (nonce, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != attestation.NonceSize || nonce(raw).String() != s {
		return nonce{}, fmt.Errorf("%w: %s is not the base64 of %d bytes", ErrNonce, printable.Quote(s), attestation.NonceSize)
	}
	return nonce(raw), nil
}

// clientNonce is in the server name that the client asked for.
func clientNonce(hello *tls.ClientHelloInfo) (nonce, error) {
	n, err := parseNonce(hello.ServerName)
	if err != nil {
		return nonce{}, fmt.Errorf("server name: %w", err)
	}
	return n, nil
}

// serverNonce is in the only authority that the server accepts.
func serverNonce(request *tls.CertificateRequestInfo) (nonce, error) {
	if n := len(request.AcceptableCAs); n != 1 {
		return nonce{}, fmt.Errorf("%w: certificate request names %d authorities, want 1", ErrNonce, n)
	}
	var sequence pkix.RDNSequence
	rest, err := asn1.Unmarshal(request.AcceptableCAs[0], &sequence)
	if err != nil || len(rest) > 0 {
		return nonce{}, fmt.Errorf("%w: malformed authority in the certificate request", ErrNonce)
	}
	var name pkix.Name
	name.FillFromRDNSequence(&sequence)
	n, err := parseNonce(name.CommonName)
	if err != nil {
		return nonce{}, fmt.Errorf("authority in the certificate request: %w", err)
	}
	return n, nil
}

// authority makes the pool whose only member carries the nonce.
func (n nonce) authority() (*x509.CertPool, error) {
	subject, err := asn1.Marshal(pkix.Name{CommonName: n.String()}.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("naming an authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(&x509.Certificate{Raw: bytes.Clone(subject), RawSubject: subject})
	return pool, nil
}
