//go:build cgo

// The TPM simulator needs cgo.
package main

import (
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/vtpm"

	"github.com/google/go-tpm-tools/simulator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startSimulator starts a TPM all PCRs of which are as after a reset.
func startSimulator(t *testing.T) *vtpm.TPM {
	t.Helper()
	simulated, err := simulator.Get()
	require.NoError(t, err)
	tpm := vtpm.New(simulated, func() ([]byte, error) { return nil, nil })
	t.Cleanup(func() { require.NoError(t, tpm.Close()) })
	return tpm
}

// TestRecoverAttestedNode runs the whole command against a genuine TPM
// document, with expected measurements from each kind of file.
func TestRecoverAttestedNode(t *testing.T) {
	const (
		honest224 = "attestation: {qemuVTPM: {measurements: {4: {expected: " + zeros + "}, 15: " + zeros + "}}}\n"
		honest21  = "provider: {qemu: {measurements: {4: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, 9: BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=, 12: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}, enforcedMeasurements: [4, 12]}}\n"
		measured  = `{"measurements": {"4": "` + zeros + `", "15": {"expected": "` + zeros + `", "warnOnly": false}}}`
	)
	four := strings.Repeat("04", 32)
	for name, tt := range map[string]struct {
		node  attestation.Binding
		files map[string]string
		args  string
		notes string // wanted on stderr
		want  string // wanted error; empty means recovered
	}{
		"config of 2.24":     {attestation.BindHashChain, map[string]string{defaultConfig: honest224}, "", "", ""},
		"config of 2.1":      {attestation.BindSigned, map[string]string{defaultConfig: honest21}, "--compat 2.1", "Warning:", ""},
		"config elsewhere":   {attestation.BindHashChain, map[string]string{"other.yaml": honest224}, "--config other.yaml", "", ""},
		"measurements":       {attestation.BindHashChain, map[string]string{"m.json": measured}, "--measurements m.json", "", ""},
		"measurements first": {attestation.BindHashChain, map[string]string{"m.json": measured, defaultConfig: "attestation: {qemuVTPM: {measurements: {4: " + four + ", 15: " + zeros + "}}}\n"}, "--measurements m.json", "", ""},
		"other kernel":       {attestation.BindHashChain, map[string]string{defaultConfig: "attestation: {qemuVTPM: {measurements: {4: " + four + ", 15: " + zeros + "}}}\n"}, "", "", "is not trusted and got no key: attested TLS: peer refused (measurement): unexpected measurement: measurement 4 differs: expected " + four + ", got "},
		"node of no cloud": {attestation.BindHashChain, map[string]string{"m.json": `{"variant": "aws-sev-snp", "measurements": {"4": "` + zeros + `", "15": "` + zeros + `"}, "snp": {"minimumTCB": {"bootloader": 0, "tee": 0, "snp": 0, "microcode": 0}}}`},
			"--measurements m.json", "", "is not trusted and got no key: attested TLS: peer refused (variant): "},
		"node of 2.1":         {attestation.BindSigned, map[string]string{defaultConfig: honest224}, "", "", "is not trusted and got no key"},
		"node of 2.24 as 2.1": {attestation.BindHashChain, map[string]string{defaultConfig: honest21}, "--compat 2.1", "", "is not trusted and got no key"},
	} {
		t.Run(name, func(t *testing.T) {
			tpm := startSimulator(t) // of its own: quotes of one profile spoil it for another
			got := make(chan receipt, 1)
			address := startNode(t, tpm.Issuer(tt.node), takeKey(vectors["A"].disk, got, nil))
			tt.files[defaultMasterSecret] = vectors["A"].file(t)

			screen, err := recoverIn(t, workspaceWith(t, tt.files), hurried, append([]string{"-e", address}, strings.Fields(tt.args)...)...)
			assert.Contains(t, screen.notes.String(), tt.notes)
			if tt.want != "" {
				require.ErrorContains(t, err, tt.want)
				assert.Empty(t, got, "no key for a node that is not trusted")
				assert.Empty(t, screen.out.String())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, unhex(t, vectors["A"].diskKey), (<-got).key)
			assert.Equal(t, "Pushed recovery key.\nRecovered 1 control-plane nodes.\n", screen.out.String())
		})
	}
}
