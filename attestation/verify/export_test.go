package verify

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"

	"disk-mapper/attestation"

	"github.com/google/go-sev-guest/verify/trust"
)

// TrustAMD makes v believe other roots than AMD's.
func TrustAMD(v attestation.Validator, generation string, certificates *trust.ProductCerts) attestation.Validator {
	inner := v.(validator)
	inner.amd = amdCertificates{generation: certificates}
	return inner
}

// TrustIntel makes v believe another root than Intel's.
func TrustIntel(v attestation.Validator, root *x509.Certificate) attestation.Validator {
	inner := v.(validator)
	inner.intel = root
	return inner
}

// Trust has v judge instance info and an event log of zero PCRs, as if a good
// quote by key covered them.
func Trust(ctx context.Context, v attestation.Validator, key *rsa.PublicKey, info, eventLog []byte) error {
	inner, zero := v.(validator), make([]byte, sha256.Size)
	return trusts[inner.policy.variant](ctx, inner, evidence{
		key: attestationKey{public: key}, info: info, extraData: zero, pcrs: map[int][]byte{0: zero}, eventLog: eventLog,
	})
}
