package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"disk-mapper/internal/exactjson"
)

// policyFile tells a list that is empty from one that is absent, which is nil.
type policyFile struct {
	Variant      string                  `json:"variant,omitempty"`
	Measurements map[int]json.RawMessage `json:"measurements"`
	Enforced     []int                   `json:"enforcedPCRs,omitzero"` // nil in the current form
	TrustedAKs   []string                `json:"trustedAKs,omitzero"`
	SNP          *snpFile                `json:"snp,omitempty"`
	TDX          *tdxFile                `json:"tdx,omitempty"`
	GCPProject   string                  `json:"gcpProject,omitempty"`
	SEVES        *bool                   `json:"sevES,omitempty"`
	AKRoots      [][]byte                `json:"akRoots,omitzero"`
}

// ParsePolicy reads a policy from JSON in one of two forms. The current one has
// hexadecimal values, and a bare string is a value that is enforced:
//
//	{"measurements": {"15": {"expected": "00..", "warnOnly": false}, "4": "ab.."}}
//
// The one of release 2.1, known by its second member, has values in base64:
//
//	{"measurements": {"12": "AA.."}, "enforcedPCRs": [12]}
//
// Both may have "trustedAKs", a list of hexadecimal SHA-256 hashes as for
// NewPolicy, and "variant"; without it the policy is for qemu-vtpm. The variants
// of SEV-SNP need, and no other has
//
//	"snp": {"minimumTCB": {"bootloader": 3, "tee": 0, "snp": 8, "microcode": 115}}
//
// in which azure-sev-snp needs "idKeyDigests", a list of hexadecimal SHA-384
// hashes. The variant azure-tdx needs
//
//	"tdx": {"minimumTEESVN": "0300..", "minimumQESVN": 4, "minimumPCESVN": 11, "mrTDs": ["ab.."]}
//
// with 16 and with 48 bytes in hexadecimal. The variants of GCP need "gcpProject", a project's ID; gcp-sev-es
// may have "sevES", true to refuse machines whose firmware says SEV only. The variant
// azure-trustedlaunch "akRoots", a list of certificates: DER in base64. It fails
// with ErrPolicy for anything else.
func ParsePolicy(raw []byte) (Policy, error) {
	var file policyFile
	if err := exactjson.Unmarshal(raw, &file); err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	measurements, err := file.measurements()
	if err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	trustedAKs, err := file.trustedAKs()
	if err != nil {
		return Policy{}, fmt.Errorf("%w: trustedAKs: %w", ErrPolicy, err)
	}
	policy, err := NewPolicy(measurements, trustedAKs...)
	if err != nil {
		return Policy{}, err
	}
	if err := file.variant(&policy); err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return policy, nil
}

func (f policyFile) measurements() (map[int]Measurement, error) {
	read := readCurrent
	if f.Enforced != nil {
		read = read21
	}
	measurements := map[int]Measurement{}
	for _, index := range slices.Sorted(maps.Keys(f.Measurements)) {
		m, err := read(f.Measurements[index])
		if err != nil {
			return nil, fmt.Errorf("measurement %d: %w", index, err)
		}
		measurements[index] = m
	}
	for _, index := range f.Enforced {
		m, ok := measurements[index]
		if !ok || !m.WarnOnly {
			return nil, fmt.Errorf("enforcedPCRs: PCR %d is listed twice or has no expected value", index)
		}
		measurements[index] = Measurement{Expected: m.Expected}
	}
	return measurements, nil
}

func readCurrent(raw json.RawMessage) (Measurement, error) {
	var value struct {
		Expected string `json:"expected"`
		WarnOnly *bool  `json:"warnOnly,omitempty"`
	}
	into := any(&value)
	if raw[0] == '"' {
		into = &value.Expected
	}
	if err := exactjson.Unmarshal(raw, into); err != nil {
		return Measurement{}, err
	}
	digest, err := hexDigest(value.Expected, sha256.Size)
	return Measurement{Expected: digest, WarnOnly: value.WarnOnly != nil && *value.WarnOnly}, err
}

// read21 leaves enforcing to the list beside the values.
func read21(raw json.RawMessage) (Measurement, error) {
	m := Measurement{WarnOnly: true}
	err := exactjson.Unmarshal(raw, &m.Expected)
	return m, err
}

func (f policyFile) trustedAKs() (fingerprints [][sha256.Size]byte, err error) {
	if f.TrustedAKs != nil && len(f.TrustedAKs) == 0 {
		return nil, errors.New("list is empty: leave it out to trust any key")
	}
	for _, text := range f.TrustedAKs {
		fingerprint, err := hexDigest(text, sha256.Size)
		if err != nil {
			return nil, err
		}
		fingerprints = append(fingerprints, [sha256.Size]byte(fingerprint))
	}
	return fingerprints, nil
}

func hexDigest(text string, size int) ([]byte, error) {
	digest, err := hex.DecodeString(text)
	if err != nil || len(digest) != size {
		return nil, fmt.Errorf("want %d hexadecimal digits", 2*size)
	}
	return digest, nil
}
