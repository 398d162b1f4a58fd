package verify

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/google/go-tpm/legacy/tpm2"

	"disk-mapper/internal/printable"
)

// Sizes of a modulus in bits. The upper one bounds the work of a verification.
const (
	minModulus = 2048
	maxModulus = 4096
)

// required are the attributes without which a key can sign a made-up quote
// (restricted, sign) or may live outside of its TPM (the others).
var required = []struct {
	attribute tpm2.KeyProp
	name      string
}{
	{tpm2.FlagRestricted, "restricted"},
	{tpm2.FlagSign, "sign"},
	{tpm2.FlagFixedTPM, "fixedTPM"},
	{tpm2.FlagFixedParent, "fixedParent"},
	{tpm2.FlagSensitiveDataOrigin, "sensitiveDataOrigin"},
}

type attestationKey struct {
	public *rsa.PublicKey
	// fingerprint is the SHA-256 of the SubjectPublicKeyInfo in DER.
	fingerprint [sha256.Size]byte
}

// parseKey reads a TPMT_PUBLIC and fails with ErrKey unless it describes an RSA
// key that signs nothing but what its TPM says.
func parseKey(raw []byte) (attestationKey, error) {
	area, err := tpm2.DecodePublic(raw)
	if err != nil {
		return attestationKey{}, fmt.Errorf("%w: %w", ErrKey, printable.Error(err))
	}
	if again, err := area.Encode(); err != nil || !bytes.Equal(again, raw) {
		return attestationKey{}, fmt.Errorf("%w: bytes that do not belong to its public area", ErrKey)
	}
	if err := checkArea(area); err != nil {
		return attestationKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	public := &rsa.PublicKey{N: area.RSAParameters.Modulus(), E: int(area.RSAParameters.Exponent())}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return attestationKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return attestationKey{public: public, fingerprint: sha256.Sum256(der)}, nil
}

func checkArea(area tpm2.Public) error {
	for _, r := range required {
		if area.Attributes&r.attribute == 0 {
			return fmt.Errorf("attribute %s is not set", r.name)
		}
	}
	if area.Type != tpm2.AlgRSA {
		return fmt.Errorf("type is %v, want RSA", area.Type)
	}
	rsaArea := area.RSAParameters
	if s := rsaArea.Sign; s == nil || s.Alg != tpm2.AlgRSASSA || s.Hash != tpm2.AlgSHA256 {
		return fmt.Errorf("scheme is %+v, want RSASSA with SHA-256", s)
	}
	bits := rsaArea.Modulus().BitLen()
	if bits < minModulus || bits > maxModulus || bits != int(rsaArea.KeyBits) {
		return fmt.Errorf("RSA with %d bits (%d claimed), want %d to %d", bits, rsaArea.KeyBits, minModulus, maxModulus)
	}
	if e := rsaArea.Exponent(); e != 65537 {
		return fmt.Errorf("exponent is %d, want 65537", e)
	}
	return nil
}
