package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"disk-mapper/attestation/verify"
	"disk-mapper/internal/printable"

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
		Measurements indexed[measurement] `yaml:"measurements"`
	} `yaml:"attestation"`
	Provider map[string]*struct { // up to v2.1
		Measurements indexed[string] `yaml:"measurements"`
		Enforced     []int           `yaml:"enforcedMeasurements"`
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
			return nil, fmt.Errorf("measurement %d: %w", pcr, printable.Error(err))
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
	if err := knownMembers(node, "expected", "warnOnly"); err != nil {
		return err
	}
	if err := node.Decode(into); err != nil {
		return err
	}
	raw, err := hex.DecodeString(parts.Expected)
	if err != nil {
		return fmt.Errorf("line %d: measurement: %w", node.Line, err) // hex names one character, quoted
	}
	*m = measurement{Expected: raw, WarnOnly: parts.WarnOnly}
	return nil
}

// knownMembers: a misspelt member would leave its default in force.
func knownMembers(node *yaml.Node, known ...string) error {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(node.Content); i += 2 {
		if name := node.Content[i].Value; !slices.Contains(known, name) {
			return fmt.Errorf("line %d: unknown member %s of a measurement, want %s", node.Content[i].Line, printable.Quote(name), strings.Join(known, " and "))
		}
	}
	return nil
}

// indexed are values by the number of a PCR, which YAML can write in many ways.
type indexed[T any] map[int]T

// UnmarshalYAML implements yaml.Unmarshaler.
func (v *indexed[T]) UnmarshalYAML(node *yaml.Node) error {
	var plain map[int]T
	if err := node.Decode(&plain); err != nil {
		return err
	}
	seen := map[int]bool{}
	for i := 0; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
		var index int
		if err := node.Content[i].Decode(&index); err != nil {
			return err
		}
		if seen[index] {
			return fmt.Errorf("line %d: measurement %d is there twice", node.Content[i].Line, index)
		}
		seen[index] = true
	}
	*v = plain
	return nil
}
