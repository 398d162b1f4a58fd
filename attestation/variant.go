package attestation

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// ErrVariant reports a name that is no attestation variant.
var ErrVariant = errors.New("unknown attestation variant")

// Variant is one way to attest a machine, by its name as in
// CONSTEL_ATTESTATION_VARIANT. The zero value is no variant.
type Variant string

// QEMUVTPM is a vTPM without hardware behind it, on QEMU and OpenStack.
const QEMUVTPM Variant = "qemu-vtpm"

// variants lists what this build can issue and validate, each with the type of
// the certificate extension that carries its documents.
var variants = []struct {
	Variant
	oid asn1.ObjectIdentifier
}{
	{QEMUVTPM, asn1.ObjectIdentifier{1, 3, 9900, 5, 1}},
}

// ParseVariant matches names exactly. It fails with ErrVariant and the
// accepted names.
func ParseVariant(name string) (Variant, error) {
	var known []string
	for _, v := range variants {
		if string(v.Variant) == name {
			return v.Variant, nil
		}
		known = append(known, string(v.Variant))
	}
	return "", fmt.Errorf("%w %q, want one of: %s", ErrVariant, name, strings.Join(known, ", "))
}

// OID is the type of the certificate extension; nil for an unknown variant.
func (v Variant) OID() asn1.ObjectIdentifier {
	for _, known := range variants {
		if known.Variant == v {
			return known.oid
		}
	}
	return nil
}
