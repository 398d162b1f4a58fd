//go:build cgo

// The TPM simulator needs cgo.
package main

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"

	"disk-mapper/attestation"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm-tools/simulator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// simulated issues genuine documents of a TPM simulator, all PCRs of which are
// as after a reset.
type simulated struct {
	binding attestation.Binding
	mu      sync.Mutex
	ak      *client.Key
}

func startSimulator(t *testing.T) io.ReadWriter {
	t.Helper()
	tpm, err := simulator.Get()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tpm.Close()) })
	return tpm
}

func newSimulated(t *testing.T, tpm io.ReadWriter, binding attestation.Binding) *simulated {
	t.Helper()
	ak, err := client.AttestationKeyRSA(tpm)
	require.NoError(t, err)
	t.Cleanup(ak.Close)
	return &simulated{binding: binding, ak: ak}
}

func (*simulated) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (s *simulated) Issue(_ context.Context, userData, nonce []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	qualifying, err := s.binding.QualifyingData(userData, nonce, nil)
	if err != nil {
		return nil, err
	}
	evidence, err := s.ak.Attest(client.AttestOpts{Nonce: qualifying, TCGEventLog: []byte{}, SkipTeeAttestation: true})
	if err != nil {
		return nil, err
	}
	document := attestation.Document{UserData: userData}
	document.Attestation.AKPub = evidence.GetAkPub()
	for _, quote := range evidence.GetQuotes() {
		values := map[int][]byte{}
		for index, value := range quote.GetPcrs().GetPcrs() {
			values[int(index)] = value
		}
		document.Attestation.Quotes = append(document.Attestation.Quotes, attestation.Quote{
			Quote: quote.GetQuote(), RawSig: quote.GetRawSig(),
			PCRs: attestation.Bank{Hash: uint16(quote.GetPcrs().GetHash()), PCRs: values},
		})
	}
	if s.binding == attestation.BindSigned {
		document.UserDataSignature, err = s.ak.SignData(userData)
	} else {
		document.Attestation.TeeAttestation = json.RawMessage("null")
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(document)
}

// TestRecoverAttestedNode runs the whole command against a genuine TPM
// document, with expected measurements from each kind of file.
func TestRecoverAttestedNode(t *testing.T) {
	const (
		honest224 = "attestation: {qemuVTPM: {measurements: {4: {expected: " + zeros + "}, 15: " + zeros + "}}}\n"
		honest21  = "provider: {qemu: {measurements: {4: BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=, 12: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}, enforcedMeasurements: [12]}}\n"
		measured  = `{"measurements": {"15": {"expected": "` + zeros + `", "warnOnly": false}}}`
	)
	four := strings.Repeat("04", 32)
	tpm := startSimulator(t)
	for name, tt := range map[string]struct {
		node  attestation.Binding
		files map[string]string
		args  string
		notes string // wanted on stderr
		want  string // wanted error; empty means recovered
	}{
		"config of 2.24":      {attestation.BindHashChain, map[string]string{defaultConfig: honest224}, "", "", ""},
		"config of 2.1":       {attestation.BindSigned, map[string]string{defaultConfig: honest21}, "--compat 2.1", "Warning:", ""},
		"config elsewhere":    {attestation.BindHashChain, map[string]string{"other.yaml": honest224}, "--config other.yaml", "", ""},
		"measurements":        {attestation.BindHashChain, map[string]string{"m.json": measured}, "--measurements m.json", "", ""},
		"measurements first":  {attestation.BindHashChain, map[string]string{"m.json": measured, defaultConfig: "attestation: {qemuVTPM: {measurements: {4: " + four + "}}}\n"}, "--measurements m.json", "", ""},
		"other kernel":        {attestation.BindHashChain, map[string]string{defaultConfig: "attestation: {qemuVTPM: {measurements: {4: " + four + "}}}\n"}, "", "", "is not trusted and got no key"},
		"node of 2.1":         {attestation.BindSigned, map[string]string{defaultConfig: honest224}, "", "", "is not trusted and got no key"},
		"node of 2.24 as 2.1": {attestation.BindHashChain, map[string]string{defaultConfig: honest224}, "--compat 2.1", "", "is not trusted and got no key"},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan receipt, 1)
			address := startNode(t, newSimulated(t, tpm, tt.node), takeKey(vectors["A"].disk, got, nil))
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
