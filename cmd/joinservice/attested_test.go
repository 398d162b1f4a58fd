//go:build cgo

// The TPM simulator needs cgo.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/proto/joinproto"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm-tools/simulator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
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

// TestServesAttestedNodes runs the whole service against nodes with genuine TPM
// documents.
func TestServesAttestedNodes(t *testing.T) {
	tpm := startSimulator(t)
	for name, tt := range map[string]struct {
		compat string
		policy string
		node   attestation.Binding
		logged string // why the node is refused; empty means it is served
	}{
		"node of 2.24":              {"2.24", zeroPolicy, attestation.BindHashChain, ""},
		"node of 2.1":               {"2.1", `{"measurements": {"4": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, "enforcedPCRs": [4]}`, attestation.BindSigned, ""},
		"node of 2.1 as 2.24":       {"2.24", zeroPolicy, attestation.BindSigned, "peer refused"},
		"node of 2.24 as 2.1":       {"2.1", zeroPolicy, attestation.BindHashChain, "peer refused"},
		"other kernel":              {"2.24", `{"measurements": {"4": {"expected": "0404040404040404040404040404040404040404040404040404040404040404", "warnOnly": false}}}`, attestation.BindHashChain, "measurement 4 differs"},
		"other kernel, only warned": {"2.24", `{"measurements": {"4": {"expected": "0404040404040404040404040404040404040404040404040404040404040404", "warnOnly": true}, "5": {"expected": "0000000000000000000000000000000000000000000000000000000000000000", "warnOnly": false}}}`, attestation.BindHashChain, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files(t)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "policy.json"), []byte(tt.policy), 0o600))
			ctx, stop := context.WithCancel(t.Context())
			screen := newTerminal()
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, append(good(dir), "--compat", tt.compat), screen) }()
			ticket, err := rejoin(t, <-screen.address, newSimulated(t, tpm, tt.node))
			stop()
			require.NoError(t, <-ended)
			if tt.logged != "" {
				require.Error(t, err)
				assert.Contains(t, screen.String(), tt.logged)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "60616af9434ebe99856112123b7c70a53d338e0afcb4bb6dd939b63e2749eb6c", hex.EncodeToString(ticket.GetStateDiskKey()))
			assert.Equal(t, name == "other kernel, only warned", strings.Contains(screen.String(), `"level":"WARN"`))
		})
	}
}

func rejoin(t *testing.T, address string, node attestation.Issuer) (*joinproto.IssueRejoinTicketResponse, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(atls.ClientCredentials(node, atls.AcceptAnyPeer)))
	require.NoError(t, err)
	defer conn.Close()
	request := &joinproto.IssueRejoinTicketRequest{DiskUuid: "12345678-90ab-cdef-1234-567890abcdef"}
	return joinproto.NewAPIClient(conn).IssueRejoinTicket(t.Context(), request)
}
