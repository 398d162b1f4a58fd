// Package verify judges the attestation documents of machines with a vTPM
// against what their operator expects.
//
// Trust boundary: documents come from whoever connects. They are read strictly,
// and only what the attestation key has signed is compared. The quote of the
// SHA-256 bank alone is looked at: other banks, whose PCRs nobody compares,
// prove nothing about it.
//
// What a document proves depends on who vouches for the attestation key, which
// each variant decides for itself (trusts). On QEMU nobody does: without a pinned
// key a document proves nothing about hardware, and the attributes of the key
// are the peer's own claim.
//
// Non-goals: the event log is not evaluated, since the PCRs decide, but for what
// it says about the processor on gcp-sev-es. No network
// is used, but for the question to Google (GCE) where no key is pinned; so
// revocation lists of hardware makers are not looked at: the policy's minimum
// versions are what takes trust away from old firmware.
package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"disk-mapper/attestation"
)

// Each refusal is of exactly one of these kinds, and of the class of this name.
var (
	// ErrPolicy reports a policy that cannot be used.
	ErrPolicy = attestation.NewFault("policy", "bad attestation policy")
	// ErrDocument reports a document that is not one of this variant's.
	ErrDocument = attestation.NewFault("document", "malformed attestation document")
	// ErrKey reports an attestation key that could sign lies, or is not among
	// the trusted ones.
	ErrKey = attestation.NewFault("key", "untrusted attestation key")
	// ErrQuote reports a quote that the key did not make, or not of these PCRs.
	ErrQuote = attestation.NewFault("quote", "invalid quote")
	// ErrBinding reports a document made for another key or another nonce.
	ErrBinding = attestation.NewFault("binding", "document is not bound to this connection")
	// ErrHardware reports a hardware report that does not vouch for the key, or
	// is of hardware that the policy does not accept.
	ErrHardware = attestation.NewFault("hardware", "untrusted hardware report")
	// ErrMeasurement reports an enforced measurement with another value.
	ErrMeasurement = attestation.NewFault("measurement", "unexpected measurement")
)

// New validates documents of the policy's variant. It calls warn, which may be
// nil, once for a document that is accepted all the same, with the context of the
// validation and a sentence about the measurements that differ and are not enforced.
// Documents of Compute Engine need pinned keys or gce, which may be nil.
func New(policy Policy, binding attestation.Binding, gce GCE, warn func(context.Context, string)) attestation.Validator {
	if warn == nil {
		warn = func(context.Context, string) {}
	}
	return validator{policy: policy, binding: binding, google: newQuestions(gce), warn: warn, amd: pinnedAMD(), intel: pinnedIntel()}
}

type validator struct {
	policy  Policy
	binding attestation.Binding
	google  *questions // nil if there is nobody to ask
	warn    func(context.Context, string)
	amd     amdCertificates
	intel   *x509.Certificate
}

func (v validator) Variant() attestation.Variant { return v.policy.variant }

// Validate fails with one of the kinds above. Under BindSigned the user data is
// tied to the quote by the key alone: whoever can make that key sign can mix
// documents, so prefer BindHashChain.
func (v validator) Validate(ctx context.Context, document, userData, nonce []byte) error {
	if err := v.usable(); err != nil {
		return err
	}
	d, err := ParseDocument(document)
	if err != nil {
		return err
	}
	key, err := parseKey(d.Attestation.AKPub)
	if err != nil {
		return err
	}
	if err := v.policy.trusts(key.fingerprint); err != nil {
		return err
	}
	if err := v.checkBinding(d, key.public, userData); err != nil {
		return err
	}
	pcrs, err := v.quotedPCRs(d, key.public, nonce)
	if err != nil {
		return err
	}
	e, err := gather(d, key, nonce, pcrs)
	if err != nil {
		return err
	}
	warning, err := v.policy.judge(pcrs) // before anybody else is asked about a stranger
	if err != nil {
		return err
	}
	if pcr, is := v.binding.Foreign(pcrs); is {
		return fmt.Errorf("%w: measurement %d says that this machine signs for another profile, so its quote proves nothing in this one", ErrMeasurement, pcr)
	}
	if err := trusts[v.policy.variant](ctx, v, e); err != nil {
		return err
	}
	if warning != "" {
		v.warn(ctx, warning)
	}
	return nil
}

// usable guards against the zero value of a policy, and against instance info
// that is of no worth unless the quote covers it: under BindSigned it does not.
// What the variants of release 2.1 say about a key holds by itself.
func (v validator) usable() error {
	if len(v.policy.measurements) == 0 {
		return fmt.Errorf("%w: no expected measurements", ErrPolicy)
	}
	if v.binding == attestation.BindSigned && !v.policy.variant.Has(v.binding) {
		return fmt.Errorf("%w: release 2.1 has no documents of %s", ErrPolicy, v.policy.variant)
	}
	return nil
}

// gather is for the time after the quote has been found to be good.
func gather(d attestation.Document, key attestationKey, nonce []byte, pcrs map[int][]byte) (evidence, error) {
	extraData, err := attestation.ExtraData(d.UserData, nonce)
	if err != nil {
		return evidence{}, fmt.Errorf("%w: %w", ErrBinding, err)
	}
	return evidence{key: key, info: d.InstanceInfo, extraData: extraData, pcrs: pcrs, eventLog: d.Attestation.EventLog}, nil
}

// checkBinding ties the document to userData. Under BindHashChain this takes
// effect with the quote, whose qualifying data covers the user data.
func (v validator) checkBinding(d attestation.Document, key *rsa.PublicKey, userData []byte) error {
	if !bytes.Equal(d.UserData, userData) {
		return fmt.Errorf("%w: it is for user data %.64x, want %x", ErrBinding, d.UserData, userData)
	}
	if v.binding != attestation.BindSigned {
		if d.UserDataSignature != nil {
			return fmt.Errorf("%w: user data signature of release 2.1, want a document of a later one", ErrDocument)
		}
		return nil
	}
	digest := sha256.Sum256(userData)
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], d.UserDataSignature); err != nil {
		return fmt.Errorf("%w: user data signature: %w", ErrBinding, err)
	}
	return nil
}
