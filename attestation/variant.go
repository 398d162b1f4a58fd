package attestation

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"disk-mapper/internal/printable"
)

// ErrVariant reports a name that is no attestation variant.
var ErrVariant = errors.New("unknown attestation variant")

// Variant is one way to attest a machine, by its name as in
// CONSTEL_ATTESTATION_VARIANT. The zero value is no variant.
type Variant string

const (
	// QEMUVTPM is a vTPM without hardware behind it, on QEMU and OpenStack.
	QEMUVTPM Variant = "qemu-vtpm"
	// AWSNitroTPM is the vTPM of an EC2 instance.
	AWSNitroTPM Variant = "aws-nitro-tpm"
	// AWSSEVSNP is the vTPM of an EC2 instance under SEV-SNP.
	AWSSEVSNP Variant = "aws-sev-snp"
	// GCPSEVES is the vTPM of a Compute Engine instance under SEV-ES.
	GCPSEVES Variant = "gcp-sev-es"
	// GCPSEVSNP is the vTPM of a Compute Engine instance under SEV-SNP.
	GCPSEVSNP Variant = "gcp-sev-snp"
	// AzureSEVSNP is the vTPM that Azure keeps inside of a VM under SEV-SNP.
	AzureSEVSNP Variant = "azure-sev-snp"
	// AzureTrustedLaunch is the vTPM of an Azure VM without hardware behind it.
	AzureTrustedLaunch Variant = "azure-trustedlaunch"
	// AzureTDX is the vTPM that Azure keeps inside of a VM under TDX.
	AzureTDX Variant = "azure-tdx"
)

// variants lists what this build can issue and validate, each with the type of
// the certificate extension that carries its documents, and whether release 2.1
// has it too.
var variants = []struct {
	Variant
	oid  asn1.ObjectIdentifier
	in21 bool
}{
	{QEMUVTPM, asn1.ObjectIdentifier{1, 3, 9900, 5, 1}, true},
	{AWSNitroTPM, asn1.ObjectIdentifier{1, 3, 9900, 2, 1}, false},
	{AWSSEVSNP, asn1.ObjectIdentifier{1, 3, 9900, 2, 2}, false},
	{GCPSEVES, asn1.ObjectIdentifier{1, 3, 9900, 3, 1}, true},
	{GCPSEVSNP, asn1.ObjectIdentifier{1, 3, 9900, 3, 2}, false},
	{AzureSEVSNP, asn1.ObjectIdentifier{1, 3, 9900, 4, 1}, true},
	{AzureTrustedLaunch, asn1.ObjectIdentifier{1, 3, 9900, 4, 2}, true},
	{AzureTDX, asn1.ObjectIdentifier{1, 3, 9900, 4, 3}, false},
}

// placeholders are names without a form of documents.
var placeholders = []string{"qemu-tdx"}

// ParseVariant matches names exactly. It fails with the accepted names, and with
// ErrVariant or, for a placeholder, saying so.
func ParseVariant(name string) (Variant, error) {
	var known []string
	for _, v := range variants {
		if string(v.Variant) == name {
			return v.Variant, nil
		}
		known = append(known, string(v.Variant))
	}
	want := strings.Join(known, ", ")
	if slices.Contains(placeholders, name) {
		return "", fmt.Errorf("attestation variant %q is known but not supported yet, want one of: %s", name, want)
	}
	return "", fmt.Errorf("%w %s, want one of: %s", ErrVariant, printable.Quote(name), want)
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

// Has reports whether there are documents of the variant with this binding.
func (v Variant) Has(b Binding) bool {
	for _, known := range variants {
		if known.Variant == v {
			return b == BindHashChain || b == BindSigned && known.in21
		}
	}
	return false
}
