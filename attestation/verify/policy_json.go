package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

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
// NewPolicy. It fails with ErrPolicy for anything else.
func ParsePolicy(raw []byte) (Policy, error) {
	var file policyFile
	err := decodeObject(raw, members{
		"measurements": file.keep(&file.measurements),
		"enforcedPCRs": file.keep(&file.enforced),
		"trustedAKs":   file.readTrustedAKs,
	}, "measurements")
	if err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	measurements, err := file.read()
	if err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return NewPolicy(measurements, file.trustedAKs...)
}

type policyFile struct {
	measurements json.RawMessage
	enforced     json.RawMessage // nil in the current form
	trustedAKs   [][sha256.Size]byte
}

func (policyFile) keep(target *json.RawMessage) func(json.RawMessage) error {
	return func(raw json.RawMessage) error { *target = raw; return nil }
}

func (f policyFile) read() (map[int]Measurement, error) {
	if f.enforced == nil {
		return readMeasurements(f.measurements, readCurrent)
	}
	measurements, err := readMeasurements(f.measurements, read21)
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	return measurements, eachElement(f.enforced, func(raw json.RawMessage) error {
		var index int
		if err := into(&index)(raw); err != nil {
			return err
		}
		m, ok := measurements[index]
		if !ok || seen[index] {
			return fmt.Errorf("enforcedPCRs: PCR %d is listed twice or has no expected value", index)
		}
		seen[index] = true
		measurements[index] = Measurement{Expected: m.Expected}
		return nil
	})
}

func readMeasurements(raw json.RawMessage, read func(json.RawMessage) (Measurement, error)) (map[int]Measurement, error) {
	measurements := map[int]Measurement{}
	err := eachMember(raw, func(name string, value json.RawMessage) error {
		index, err := pcrIndex(name)
		if err != nil {
			return err
		}
		measurements[index], err = read(value)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("measurements: %w", err)
	}
	return measurements, nil
}

func readCurrent(raw json.RawMessage) (m Measurement, err error) {
	if raw[0] == '"' {
		err = hexDigest(&m.Expected)(raw)
		return m, err
	}
	err = decodeObject(raw, members{
		"expected": hexDigest(&m.Expected),
		"warnOnly": into(&m.WarnOnly),
	}, "expected")
	return m, err
}

// read21 leaves enforcing to the list beside the values.
func read21(raw json.RawMessage) (Measurement, error) {
	m := Measurement{WarnOnly: true}
	return m, base64Bytes(&m.Expected)(raw)
}

func (f *policyFile) readTrustedAKs(raw json.RawMessage) error {
	err := eachElement(raw, func(raw json.RawMessage) error {
		var fingerprint []byte
		if err := hexDigest(&fingerprint)(raw); err != nil {
			return err
		}
		f.trustedAKs = append(f.trustedAKs, [sha256.Size]byte(fingerprint))
		return nil
	})
	if err == nil && len(f.trustedAKs) == 0 {
		return errors.New("list is empty: leave it out to trust any key")
	}
	return err
}

func hexDigest(target *[]byte) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var text string
		if err := into(&text)(raw); err != nil {
			return err
		}
		digest, err := hex.DecodeString(text)
		if err != nil || len(digest) != sha256.Size {
			return fmt.Errorf("want %d hexadecimal digits", 2*sha256.Size)
		}
		*target = digest
		return nil
	}
}
