//go:build cgo

// The TPM simulator needs cgo.
package main

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/proto/joinproto"

	"github.com/google/go-tpm-tools/simulator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
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
			ticket, err := rejoin(t, <-screen.address, tpm.Issuer(tt.node))
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
