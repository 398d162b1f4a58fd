// Package attestation is the vocabulary that attested TLS, the TPM and the
// verifiers share: who issues a document, who validates one, which variants of
// attestation exist, and what differs between the two compatibility profiles.
//
// It decides nothing: issuing is attestation/vtpm, carrying documents through
// TLS is attestation/atls, judging them is attestation/verify.
package attestation

import "context"

// NonceSize is the length in bytes of the nonce that a verifier sends.
const NonceSize = 32

// Issuer makes attestation documents of the machine it runs on.
type Issuer interface {
	Variant() Variant
	// Issue returns a document that binds userData (the SHA-256 of a TLS public
	// key) and the verifier's nonce to the state of this machine.
	Issue(ctx context.Context, userData, nonce []byte) ([]byte, error)
}

// Validator judges documents of one variant.
type Validator interface {
	Variant() Variant
	// Validate returns nil only if document is genuine, fresh for nonce, bound
	// to userData, and in accordance with the validator's policy.
	Validate(ctx context.Context, document, userData, nonce []byte) error
}
