package main

import (
	"bytes"
	"testing"

	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// configOf224 and configOf21 hold what else such files hold as well.
const (
	configOf224 = `version: v4
image: v2.24.0
provider:
  qemu:
    imageFormat: raw
    vcpus: 2
    libvirtURI: ""
attestation:
  qemuVTPM:
    measurements:
      4:
        expected: 0404040404040404040404040404040404040404040404040404040404040404
        warnOnly: false
      8:
        expected: 1111111111111111111111111111111111111111111111111111111111e11111
        warnOnly: true
      15: ` + zeros + `
nodeGroups:
  control_plane_default: {role: control-plane, initialCount: 3}
`
	configOf21 = `version: v2
autoscalingNodeGroupMin: 1
provider:
  azure: null
  qemu:
    image: https://example.com/image
    measurements:
      8: CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=
      11: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
      12: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
    enforcedMeasurements: [11, 12]
`
	configOfAzure = `attestation:
  azureSEVSNP:
    measurements:
      4: {expected: ` + zeros + `, warnOnly: false}
    bootloaderVersion: latest
`
)

func parseConfig(t *testing.T, text string) configFile {
	t.Helper()
	var config configFile
	require.NoError(t, yaml.Unmarshal([]byte(text), &config))
	return config
}

func TestMeasurementsOfBothGenerations(t *testing.T) {
	got, err := parseConfig(t, configOf224).measurements()
	require.NoError(t, err)
	eights := bytes.Repeat([]byte{0x11}, 32)
	eights[29] = 0xe1 // unquoted, YAML takes this value for a number
	assert.Equal(t, map[int]verify.Measurement{
		4:  {Expected: bytes.Repeat([]byte{4}, 32)},
		8:  {Expected: eights, WarnOnly: true},
		15: {Expected: make([]byte, 32)},
	}, got)

	got, err = parseConfig(t, configOf21).measurements()
	require.NoError(t, err)
	assert.Equal(t, map[int]verify.Measurement{
		8:  {Expected: bytes.Repeat([]byte{8}, 32), WarnOnly: true},
		11: {Expected: make([]byte, 32)},
		12: {Expected: make([]byte, 32)},
	}, got)
}

func TestMeasurementsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		config string
		want   error
	}{
		"empty file":         {"", errNoMeasurements},
		"no attestation":     {"version: v4\nprovider: {qemu: {vcpus: 2}}\n", errNoMeasurements},
		"empty attestation":  {"attestation: {qemuVTPM: {measurements: {}}}\n", errNoMeasurements},
		"null attestation":   {"attestation: {qemuVTPM: null}\n", errNoMeasurements},
		"another variant":    {configOfAzure, errVariant},
		"another provider":   {"provider: {azure: {measurements: {4: AAAA}}}\n", errVariant},
		"all only warn":      {"attestation: {qemuVTPM: {measurements: {4: {expected: " + zeros + ", warnOnly: true}}}}\n", verify.ErrPolicy},
		"v2.1 enforces none": {"provider: {qemu: {measurements: {4: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}}}\n", verify.ErrPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseConfig(t, tt.config).policy()
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func TestBrokenMeasurements(t *testing.T) {
	for name, text := range map[string]string{
		"not hex":            "attestation: {qemuVTPM: {measurements: {4: {expected: xyz}}}}\n",
		"not a measurement":  "attestation: {qemuVTPM: {measurements: {4: [1, 2]}}}\n",
		"no number":          "attestation: {qemuVTPM: {measurements: {four: " + zeros + "}}}\n",
		"twice":              "attestation: {qemuVTPM: {measurements: {4: " + zeros + ", 4: " + zeros + "}}}\n",
		"warnOnly no bool":   "attestation: {qemuVTPM: {measurements: {4: {expected: " + zeros + ", warnOnly: maybe}}}}\n",
		"v2.1 not base64":    "provider: {qemu: {measurements: {4: '***'}, enforcedMeasurements: [4]}}\n",
		"v2.1 enforces more": "provider: {qemu: {measurements: {4: AAAA}, enforcedMeasurements: [4, 11]}}\n",
		"too short":          "attestation: {qemuVTPM: {measurements: {4: {expected: 00}}}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			var config configFile
			err := yaml.Unmarshal([]byte(text), &config)
			if err == nil {
				_, err = config.policy()
			}
			require.Error(t, err)
			assert.NotErrorIs(t, err, errNoMeasurements)
		})
	}
}

func FuzzConfig(f *testing.F) {
	for _, seed := range []string{configOf224, configOf21, configOfAzure} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var config configFile
		if yaml.Unmarshal(raw, &config) != nil {
			return
		}
		if _, err := config.policy(); err != nil {
			return
		}
		expected, err := config.measurements()
		require.NoError(t, err)
		require.NotEmpty(t, expected)
	})
}
