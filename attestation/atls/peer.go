package atls

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"

	"disk-mapper/attestation"
	"disk-mapper/internal/printable"
)

// arc is where all attestation variants have their OIDs.
var arc = asn1.ObjectIdentifier{1, 3, 9900}

// maxArcs is what is told of a peer's OID: ours have fewer.
const maxArcs = 16

// refused is a peer that is there and will be refused again: not Temporary.
type refused struct{ cause error }

func (r *refused) Error() string {
	if class := attestation.ClassOf(r.cause); class != "" {
		return fmt.Sprintf("%v (%s): %v", ErrRefused, class, r.cause)
	}
	return fmt.Sprintf("%v: %v", ErrRefused, r.cause)
}
func (r *refused) Unwrap() error        { return r.cause }
func (r *refused) Is(target error) bool { return target == ErrRefused }
func (r *refused) Temporary() bool      { return false }

// check returns nil, a *refused, or an error of around.
func (p Policy) check(ctx context.Context, chain []*x509.Certificate, own nonce) error {
	if p.anyPeer {
		return nil
	}
	decide := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, Patience)
		defer cancel()
		if err := p.validate(ctx, chain, own); err != nil {
			return &refused{err}
		}
		return nil
	}
	if p.around != nil {
		return p.around(ctx, decide)
	}
	return decide(ctx)
}

func (p Policy) validate(ctx context.Context, chain []*x509.Certificate, own nonce) error {
	certificate, err := selfSigned(chain)
	if err != nil {
		return err
	}
	document, err := onlyDocument(certificate)
	if err != nil {
		return err
	}
	validator, err := p.validatorOf(document.Id)
	if err != nil {
		return err
	}
	if n := len(document.Value); n > attestation.MaxDocument {
		return fmt.Errorf("%w: %d bytes, want at most %d", ErrSize, n, attestation.MaxDocument)
	}
	userData := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
	return validator.Validate(ctx, document.Value, userData[:], own[:])
}

// selfSigned leaves the dates alone: the guest's clock is the host's to set,
// and the nonce shows that the document is fresh.
func selfSigned(chain []*x509.Certificate) (*x509.Certificate, error) {
	if len(chain) != 1 {
		return nil, fmt.Errorf("%w: chain of %d certificates, want 1", ErrCertificate, len(chain))
	}
	key, ok := chain[0].PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: its key is not ECDSA P-256", ErrCertificate)
	}
	c := chain[0]
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		return nil, fmt.Errorf("%w: it is not signed by its own key: %w", ErrCertificate, printable.Error(err))
	}
	return c, nil
}

// onlyDocument insists on exactly one document of any variant, so that it never
// matters which of several is looked at.
func onlyDocument(c *x509.Certificate) (pkix.Extension, error) {
	documents := slices.DeleteFunc(slices.Clone(c.Extensions), func(e pkix.Extension) bool {
		return len(e.Id) <= len(arc) || !e.Id[:len(arc)].Equal(arc)
	})
	switch len(documents) {
	case 0:
		return pkix.Extension{}, ErrNoDocument
	case 1:
		return documents[0], nil
	default:
		return pkix.Extension{}, fmt.Errorf("%w: it has %d attestation documents, want 1", ErrCertificate, len(documents))
	}
}

func (p Policy) validatorOf(oid asn1.ObjectIdentifier) (attestation.Validator, error) {
	var accepted []attestation.Variant
	for _, v := range p.validators {
		if oid.Equal(v.Variant().OID()) {
			return v, nil
		}
		accepted = append(accepted, v.Variant())
	}
	return nil, fmt.Errorf("%w: OID %s, want one of %q", ErrVariant, printable.Text(oid[:min(len(oid), maxArcs)].String()), accepted)
}
