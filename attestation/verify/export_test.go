package verify

import (
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
