// Package atls is TLS in which certificates prove, instead of a name, what the
// machine at the other end runs: each carries an attestation document that is
// bound to the certificate's key and to a nonce of this one connection.
//
// The client's nonce travels as the server name, the server's as the name of
// the only acceptable certificate authority; both are 32 random bytes in
// standard base64. TLS 1.3 only, no resumption.
//
// Trust boundary: the certificate is the peer's own word; nothing of it counts
// but its key and its document, and what the document is worth is for the
// validators to say. Authorities, names and dates are not looked at.
//
// # Telling a refused peer from an absent one
//
// grpc keeps no more of a failed handshake than its text. Whoever dials asks
// the credentials themselves, made anew for each call:
//
//	creds := atls.ClientCredentials(atls.Unattested, atls.Require(validator))
//	err := call(creds)
//	if refusal := atls.Refusal(creds); refusal != nil {
//		return refusal // there is a server, and it is not the one we trust
//	}
//
// A server that wants to log refusals wraps the TransportCredentials: its
// ServerHandshake fails with ErrRefused or ErrNonce.
package atls

import (
	"context"
	"errors"
	"time"

	"disk-mapper/attestation"
)

// Patience bounds issuing and validating one document.
const Patience = 30 * time.Second

var (
	// ErrRefused reports a peer that the policy does not accept. It wraps what
	// the validator said.
	ErrRefused = errors.New("peer refused")
	// ErrNoDocument reports, within ErrRefused, a peer that is not attested.
	ErrNoDocument = attestation.NewFault("document", "certificate has no attestation document")
	// ErrCertificate reports, within ErrRefused, a certificate that is not made
	// for attested TLS.
	ErrCertificate = attestation.NewFault("certificate", "bad certificate")
	// ErrVariant reports, within ErrRefused, a document of a variant that the
	// policy does not accept.
	ErrVariant = attestation.NewFault("variant", "attestation variant is not accepted")
	// ErrSize reports, within ErrRefused, a document that nobody reads.
	ErrSize = attestation.NewFault("document", "attestation document is too long")
	// ErrNonce reports a peer that does not ask for attestation the way that
	// attested TLS does.
	ErrNonce = errors.New("no attestation nonce from the peer")
)

// Policy decides about the peer. The zero value refuses everybody.
type Policy struct {
	validators []attestation.Validator
	anyPeer    bool
	around     func(ctx context.Context, decide func(context.Context) error) error
}

// Around returns the policy with judge around each decision about a peer, for who
// has something to do while that takes its time. What judge returns counts: it calls
// decide once, and fails if that fails. Where any peer is accepted nothing is decided.
func (p Policy) Around(judge func(ctx context.Context, decide func(context.Context) error) error) Policy {
	p.around = judge
	return p
}

// AcceptAnyPeer accepts every peer, attested or not, and looks at nothing of its
// certificate. Say why where you use it.
var AcceptAnyPeer = Policy{anyPeer: true}

// Require accepts a peer whose document is of the variant of one of validators
// and satisfies it.
func Require(validators ...attestation.Validator) Policy {
	return Policy{validators: validators}
}

// Unattested sends a certificate without a document.
var Unattested attestation.Issuer = unattested{}

type unattested struct{}

func (unattested) Variant() attestation.Variant { return "" }

func (unattested) Issue(context.Context, []byte, []byte) ([]byte, error) { return nil, nil }
