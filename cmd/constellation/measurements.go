package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"disk-mapper/attestation/verify"

	"go.yaml.in/yaml/v3"
)

var (
	errNoMeasurements = errors.New("no expected measurements")
	errVariant        = errors.New("holds measurements for another kind of machine than qemu-vtpm, which this program reads from JSON only")
)

// configFile is what constellation-conf.yaml says about honest nodes. Both
// generations of the file have many more members, which do not matter here.
type configFile struct {
	Attestation map[string]*struct {
		Measurements map[int]measurement `yaml:"measurements"`
	} `yaml:"attestation"`
	Provider map[string]*struct { // up to v2.1
		Measurements map[int]string `yaml:"measurements"`
		Enforced     []int          `yaml:"enforcedMeasurements"`
	} `yaml:"provider"`
}

// policy returns the expected measurements of QEMU nodes. It fails with
// errNoMeasurements if there are none at all, with errVariant if there are some
// but for machines of another kind, and with verify.ErrPolicy if they are of no
// use, as when none is enforced.
func (c configFile) policy() (verify.Policy, error) {
	expected, err := c.measurements()
	if err != nil {
		return verify.Policy{}, err
	}
	return verify.NewPolicy(expected)
}

func (c configFile) measurements() (map[int]verify.Measurement, error) {
	if qemu := c.Attestation["qemuVTPM"]; qemu != nil && len(qemu.Measurements) > 0 {
		expected := map[int]verify.Measurement{}
		for pcr, m := range qemu.Measurements {
			expected[pcr] = verify.Measurement(m)
		}
		return expected, nil
	}
	if qemu := c.Provider["qemu"]; qemu != nil && len(qemu.Measurements) > 0 {
		return oldMeasurements(qemu.Measurements, qemu.Enforced)
	}
	if c.otherVariant() {
		return nil, errVariant
	}
	return nil, errNoMeasurements
}

func (c configFile) otherVariant() bool {
	for _, variant := range c.Attestation {
		if variant != nil && len(variant.Measurements) > 0 {
			return true
		}
	}
	for _, provider := range c.Provider {
		if provider != nil && len(provider.Measurements) > 0 {
			return true
		}
	}
	return false
}

// oldMeasurements reads the form of v2.1: base64, and a list of the PCRs that
// count; the others only warn.
func oldMeasurements(values map[int]string, enforced []int) (map[int]verify.Measurement, error) {
	expected := map[int]verify.Measurement{}
	for pcr, value := range values {
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, fmt.Errorf("measurement %d: %w", pcr, err)
		}
		expected[pcr] = verify.Measurement{Expected: raw, WarnOnly: !slices.Contains(enforced, pcr)}
	}
	for _, pcr := range enforced {
		if _, ok := expected[pcr]; !ok {
			return nil, fmt.Errorf("measurement %d is enforced but has no expected value", pcr)
		}
	}
	return expected, nil
}

// measurement is {expected: hex, warnOnly: bool}, or only the hex string,
// which is then enforced.
type measurement verify.Measurement

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *measurement) UnmarshalYAML(node *yaml.Node) error {
	var parts struct {
		Expected string `yaml:"expected"`
		WarnOnly bool   `yaml:"warnOnly"`
	}
	into := any(&parts)
	if node.Kind == yaml.ScalarNode {
		into = &parts.Expected
	}
	if err := node.Decode(into); err != nil {
		return err
	}
	raw, err := hex.DecodeString(parts.Expected)
	if err != nil {
		return fmt.Errorf("line %d: measurement: %w", node.Line, err)
	}
	*m = measurement{Expected: raw, WarnOnly: parts.WarnOnly}
	return nil
}
