package atls

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"disk-mapper/attestation"
)

// validity is how far the certificate's dates are from now, for the sake of
// peers that look at them.
const validity = 2 * time.Hour

// certify makes the certificate of one connection: a key of its own, and the
// document that binds it to the peer's nonce.
func certify(ctx context.Context, self attestation.Issuer, peer nonce) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a TLS key: %w", err)
	}
	template := newTemplate()
	if self != Unattested {
		document, err := issue(ctx, self, &key.PublicKey, peer)
		if err != nil {
			return nil, fmt.Errorf("issuing our attestation document: %w", err)
		}
		template.ExtraExtensions = []pkix.Extension{{Id: self.Variant().OID(), Value: document}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func newTemplate() *x509.Certificate {
	var serial [16]byte
	_, _ = rand.Read(serial[:]) // never fails, by its contract
	serial[0] &= 0x7f
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]),
		Subject:      pkix.Name{CommonName: "Constellation"},
		NotBefore:    now.Add(-validity),
		NotAfter:     now.Add(validity),
	}
}

func issue(ctx context.Context, self attestation.Issuer, key *ecdsa.PublicKey, peer nonce) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if self.Variant().OID() == nil {
		return nil, fmt.Errorf("%w: %q", attestation.ErrVariant, self.Variant())
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	userData := sha256.Sum256(spki)
	document, err := self.Issue(ctx, userData[:], peer[:])
	if err != nil {
		return nil, err
	}
	if n := len(document); n == 0 || n > attestation.MaxDocument {
		return nil, fmt.Errorf("issuer made %d bytes, want 1 to %d", n, attestation.MaxDocument)
	}
	return document, nil
}
