package verify

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	"disk-mapper/attestation"
)

// Measurement is what a PCR of the SHA-256 bank must hold.
type Measurement struct {
	// Expected has 32 bytes.
	Expected []byte
	// WarnOnly reports a difference instead of refusing the machine.
	WarnOnly bool
}

// Policy says which machines to accept. The zero value accepts none.
type Policy struct {
	variant      attestation.Variant
	measurements map[int]Measurement
	trustedAKs   [][sha256.Size]byte
	snp          snpRules
	tdx          tdxRules
	gcpProject   string
	sevES        bool // and not SEV
	akRoots      []*x509.Certificate
}

// NewPolicy is about machines of the variant qemu-vtpm. It takes expected values
// by the index of the PCR and, optionally, the SHA-256 hashes of the
// SubjectPublicKeyInfo (DER) of the attestation keys to accept. Without such keys
// any software TPM that claims the measurements passes. It fails with ErrPolicy if
// no measurement is enforced, or one cannot be met.
func NewPolicy(measurements map[int]Measurement, trustedAKs ...[32]byte) (Policy, error) {
	p := Policy{variant: attestation.QEMUVTPM, measurements: map[int]Measurement{}, trustedAKs: slices.Clone(trustedAKs)}
	enforced := false
	for _, index := range slices.Sorted(maps.Keys(measurements)) {
		m := measurements[index]
		if err := checkMeasurement(index, m); err != nil {
			return Policy{}, fmt.Errorf("%w: measurement %d: %w", ErrPolicy, index, err)
		}
		p.measurements[index] = Measurement{Expected: bytes.Clone(m.Expected), WarnOnly: m.WarnOnly}
		enforced = enforced || !m.WarnOnly
	}
	if !enforced {
		return Policy{}, fmt.Errorf("%w: no measurement is enforced", ErrPolicy)
	}
	return p, nil
}

// Unenforced lists those of the PCRs 0 to 15 in which the policy lets any value
// pass, for callers who want to warn of them.
func (p Policy) Unenforced() []int {
	var open []int
	for index := range 16 {
		if m, ok := p.measurements[index]; !ok || m.WarnOnly {
			open = append(open, index)
		}
	}
	return open
}

func checkMeasurement(index int, m Measurement) error {
	if err := checkIndex(index); err != nil {
		return err
	}
	if len(m.Expected) != sha256.Size {
		return fmt.Errorf("expected value of %d bytes, want %d", len(m.Expected), sha256.Size)
	}
	return nil
}

func checkIndex(index int) error {
	if index < 0 || index >= attestation.PCRs {
		return fmt.Errorf("PCR %d does not exist", index)
	}
	return nil
}

// maxDifferences is how many measurements are told of with their values.
const maxDifferences = 5

// judge compares a bank that has all PCRs with the expected values. What differs and
// is not enforced is told in one sentence, empty if there is nothing.
func (p Policy) judge(pcrs map[int][]byte) (warning string, err error) {
	var differences, warnings []string
	for _, index := range slices.Sorted(maps.Keys(p.measurements)) {
		m := p.measurements[index]
		if bytes.Equal(pcrs[index], m.Expected) {
			continue
		}
		difference := fmt.Sprintf("measurement %d differs: expected %x, got %x", index, m.Expected, pcrs[index])
		if m.WarnOnly {
			warnings = append(warnings, difference)
			continue
		}
		differences = append(differences, difference)
	}
	if len(differences) > 0 {
		return "", fmt.Errorf("%w: %s", ErrMeasurement, sentence(differences))
	}
	return sentence(warnings), nil
}

func sentence(differences []string) string {
	if more := len(differences) - maxDifferences; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(differences[:maxDifferences], "; "), more)
	}
	return strings.Join(differences, "; ")
}

func (p Policy) trusts(fingerprint [sha256.Size]byte) error {
	if len(p.trustedAKs) == 0 || slices.Contains(p.trustedAKs, fingerprint) {
		return nil
	}
	return fmt.Errorf("%w: %x is not among the %d trusted ones", ErrKey, fingerprint, len(p.trustedAKs))
}
