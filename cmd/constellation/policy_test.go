package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRefusesWithoutMeasurements: nothing is dialed, and the operator learns
// the ways out.
func TestRefusesWithoutMeasurements(t *testing.T) {
	for name, tt := range map[string]struct {
		config string
		want   error
	}{
		"no config":               {"", errNoMeasurements},
		"config without":          {"version: v4\n", errNoMeasurements},
		"config of another cloud": {configOfAzure, errVariant},
	} {
		t.Run(name, func(t *testing.T) {
			content := map[string]string{defaultMasterSecret: vectors["A"].file(t), clusterIDFile: `{"ip": "127.0.0.1:1"}`}
			if tt.config != "" {
				content[defaultConfig] = tt.config
			}
			screen, err := recoverIn(t, workspaceWith(t, content), hurried)
			require.ErrorIs(t, err, tt.want)
			for _, way := range []string{"--measurements FILE", "--config FILE", "--insecure-skip-attestation"} {
				assert.ErrorContains(t, err, way)
			}
			assert.Empty(t, screen.out.String()+screen.notes.String())
		})
	}
}

func TestWrongUse(t *testing.T) {
	files := map[string]string{
		defaultMasterSecret: vectors["A"].file(t),
		defaultConfig:       configOf224,
		"broken.json":       `{"measurements": {`,
		"broken.yaml":       "\t{",
		"warns.yaml":        "attestation: {qemuVTPM: {measurements: {4: {expected: " + zeros + ", warnOnly: true}}}}\n",
		"running.json":      `{"measurements": {"4": "` + zeros + `"}}`,
		"anyboot.json":      `{"measurements": {"15": "` + zeros + `"}}`,
		"running.yaml":      "attestation: {qemuVTPM: {measurements: {4: {expected: " + zeros + "}, 15: {expected: " + zeros + ", warnOnly: true}}}}\n",
		"default21.yaml":    "provider: {qemu: {measurements: {4: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, 11: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, 12: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}, enforcedMeasurements: [11, 12]}}\n",
		"misspelt.yaml":     "attestation: {qemuVTPM: {measurements: {4: {expected: " + zeros + ", warnonly: true}, 15: " + zeros + "}}}\n",
		"twice.yaml":        "attestation: {qemuVTPM: {measurements: {4: " + zeros + ", 0x4: " + zeros + ", 15: " + zeros + "}}}\n",
		"short.json":        `{"key": "AAAA", "salt": "AAAA"}`,
	}
	for name, tt := range map[string]struct{ args, want string }{
		"no endpoint":             {"", errNoEndpoint.Error()},
		"no master secret":        {"--master-secret nowhere.json", "master secret: open "},
		"short master secret":     {"--master-secret short.json", "master secret DIR/short.json: master key: wrong length"},
		"not a master secret":     {"--master-secret constellation-conf.yaml", "not a master secret file"},
		"missing measurements":    {"-e 127.0.0.1:1 --measurements nowhere.json", "expected measurements: attestation policy: open "},
		"broken measurements":     {"-e 127.0.0.1:1 --measurements broken.json", "expected measurements DIR/broken.json: "},
		"broken config":           {"-e 127.0.0.1:1 --config broken.yaml", "reading DIR/broken.yaml: "},
		"missing config":          {"-e 127.0.0.1:1 --config nowhere.yaml", "no expected measurements"},
		"unknown release":         {"-e 127.0.0.1:1 --compat 2.0", `unknown compatibility profile "2.0", want one of: 2.24, 2.1`},
		"measurements not needed": {"-e 127.0.0.1:1 --measurements m.json --insecure-skip-attestation", "none of the others can be"},
		"nothing is enforced":     {"-e 127.0.0.1:1 --config warns.yaml", "DIR/warns.yaml: bad attestation policy: no measurement is enforced"},
		"any running node":        {"-e 127.0.0.1:1 --measurements running.json", "nothing is expected of the cluster-ID PCR 15"},
		"any boot":                {"-e 127.0.0.1:1 --measurements anyboot.json", "PCR 4, what the firmware started, is not expected to hold anything"},
		"other release":           {"-e 127.0.0.1:1 --compat 2.1", "nothing is expected of the cluster-ID PCR 12"},
		"config: running node":    {"-e 127.0.0.1:1 --config running.yaml", "DIR/running.yaml: bad attestation policy: the cluster-ID PCR 15 is not enforced"},
		"config: no boot PCR":     {"-e 127.0.0.1:1 --config default21.yaml --compat 2.1", "PCR 4, what the firmware started, is not enforced"},
		"config: misspelt":        {"-e 127.0.0.1:1 --config misspelt.yaml", `unknown member "warnonly" of a measurement, want expected and warnOnly`},
		"config: PCR twice":       {"-e 127.0.0.1:1 --config twice.yaml", "measurement 4 is there twice"},
		"unknown flag":            {"--kms-uri x", "See \"constellation recover --help\""},
		"argument":                {"203.0.113.7", "goes with --endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			workspace := workspaceWith(t, files)
			var screen terminal
			args := append([]string{"recover", "-C", workspace.dir}, strings.Fields(tt.args)...)
			err := execute(t.Context(), args, &screen.out, &screen.notes, hurried)
			require.Error(t, err)
			assert.Contains(t, strings.ReplaceAll(err.Error(), workspace.dir, "DIR"), tt.want)
			assert.Empty(t, screen.out.String())
		})
	}
}

func TestLoudWayAround(t *testing.T) {
	screen, err := recoverNodes(t, hurried, "-e", unusedAddress(t), "--insecure-skip-attestation")
	require.NoError(t, err)
	assert.Contains(t, screen.notes.String(), "Warning: the attestation of nodes is NOT checked.")
}

// TestRecoverTellsWeaknesses: a policy that accepts any attestation key is used, and
// the operator is told.
func TestRecoverTellsWeaknesses(t *testing.T) {
	const measurements = `{"measurements": {"4": "` + zeros + `", "15": "` + zeros + `"}`
	for name, tt := range map[string]struct {
		policy string
		want   int
	}{
		"any key":  {measurements + `}`, 1},
		"one key":  {measurements + `, "trustedAKs": ["` + zeros + `"]}`, 0},
		"in cloud": {`{"variant": "aws-nitro-tpm", ` + measurements[1:] + `}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			screen, err := recoverIn(t, workspaceWith(t, map[string]string{
				defaultMasterSecret: vectors["A"].file(t), "m.json": tt.policy,
			}), hurried, "-e", unusedAddress(t), "--measurements", "m.json")
			require.NoError(t, err)
			assert.Equal(t, tt.want, strings.Count(screen.notes.String(), "Note: any attestation key is accepted: "), screen.notes.String())
		})
	}
}
