//go:build cgo

package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/verify"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/internal/faults"
	"disk-mapper/proto/joinproto"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm-tools/simulator"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// TestQuotesOfProfile21OpenNothing: a stranger without a TPM has a node of profile
// 2.1 quote what a JoinService of profile 2.24 wants to see quoted. Only a node
// that runs the archived release itself helps him.
func TestQuotesOfProfile21OpenNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		node   func(io.ReadWriteCloser) attestation.Issuer
		before func(*testing.T, *vtpm.TPM)
		opens  bool
	}{
		"node that waits": {node: ours},
		"node that has joined, or JoinService with --attest": {node: ours, before: func(t *testing.T, tpm *vtpm.TPM) {
			require.NoError(t, tpm.Extend(t.Context(), attestation.Profile21.ClusterIDPCR, make([]byte, 32)))
		}},
		"node in its second start of a boot": {node: ours, before: func(t *testing.T, tpm *vtpm.TPM) {
			require.NoError(t, tpm.Separate(t.Context(), attestation.BindSigned))
		}},
		"node of the archived release": {node: func(rw io.ReadWriteCloser) attestation.Issuer { return archived{rw} }, opens: true},
	} {
		t.Run(name, func(t *testing.T) {
			sim, err := simulator.Get()
			require.NoError(t, err)
			defer sim.Close()
			if tt.before != nil {
				tt.before(t, vtpm.New(sim, noLog))
			}
			node := attestingServer(t, tt.node(sim))
			address, screen, stop := startWithPolicy(t, pinning(t, node))
			ticket, err := rejoinWith(t, address, faults.Repacked(node))
			stop()
			asJoinService := believedToServe(t, node)
			if tt.opens {
				require.NoError(t, asJoinService)
				require.NoError(t, err, "the test does not play the attack: %s", screen.String())
				assert.Equal(t, "60616af9434ebe99856112123b7c70a53d338e0afcb4bb6dd939b63e2749eb6c", hex.EncodeToString(ticket.GetStateDiskKey()))
				return
			}
			require.Error(t, err)
			assert.Empty(t, ticket.GetStateDiskKey())
			assert.Contains(t, screen.String(), "unexpected measurement: measurement 15 differs")
			assert.ErrorIs(t, asJoinService, verify.ErrMeasurement)
		})
	}
}

// believedToServe is what a node of profile 2.24 says of a JoinService that shows it
// such a quote: of those, zero in PCR 15 is not expected.
func believedToServe(t *testing.T, node string) error {
	t.Helper()
	policy, err := verify.ParsePolicy([]byte(pinning(t, node)))
	require.NoError(t, err)
	policy, err = policy.ForServing(attestation.Profile224)
	require.NoError(t, err)
	userData, nonce := bytes.Repeat([]byte{1}, sha256.Size), bytes.Repeat([]byte{2}, attestation.NonceSize)
	document, err := faults.RepackedDocument(node, userData, nonce)
	require.NoError(t, err)
	return verify.New(policy, attestation.BindHashChain, nil, nil).Validate(t.Context(), document, userData, nonce)
}

// TestQuotesOfProfile224OpenNothing is the other direction: the nonce that a node
// of profile 2.24 is sent does not become what it quotes, and it signs no user data.
func TestQuotesOfProfile224OpenNothing(t *testing.T) {
	sim, err := simulator.Get()
	require.NoError(t, err)
	defer sim.Close()
	node := attestingServer(t, vtpm.New(sim, noLog).Issuer(attestation.BindHashChain))
	chosen := make([]byte, attestation.NonceSize)
	d, err := faults.QuoteOf(node, chosen)
	require.NoError(t, err)
	assert.Nil(t, d.UserDataSignature)
	for _, quote := range d.Attestation.Quotes {
		signed, err := tpm2.DecodeAttestationData(quote.Quote)
		require.NoError(t, err)
		assert.NotEqual(t, chosen, []byte(signed.ExtraData))
	}
}

func noLog() ([]byte, error) { return nil, nil }

func ours(rw io.ReadWriteCloser) attestation.Issuer {
	return vtpm.New(rw, noLog).Issuer(attestation.BindSigned)
}

// archived quotes as release 2.1 did, and measures nothing before.
type archived struct{ io.ReadWriter }

func (archived) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (a archived) Issue(_ context.Context, userData, nonce []byte) ([]byte, error) {
	ak, err := client.AttestationKeyRSA(a)
	if err != nil {
		return nil, err
	}
	evidence, err := ak.Attest(client.AttestOpts{Nonce: nonce, TCGEventLog: []byte{}, SkipTeeAttestation: true})
	if err != nil {
		return nil, err
	}
	d := attestation.Document{UserData: userData, Attestation: attestation.Evidence{AKPub: evidence.GetAkPub()}}
	for _, quote := range evidence.GetQuotes() {
		values := map[int][]byte{}
		for index, value := range quote.GetPcrs().GetPcrs() {
			values[int(index)] = value
		}
		bank := attestation.Bank{Hash: uint16(quote.GetPcrs().GetHash()), PCRs: values}
		d.Attestation.Quotes = append(d.Attestation.Quotes, attestation.Quote{Quote: quote.GetQuote(), RawSig: quote.GetRawSig(), PCRs: bank})
	}
	d.UserDataSignature, err = ak.SignData(userData)
	if err != nil {
		return nil, err
	}
	return json.Marshal(d)
}

// attestingServer attests itself to whoever connects, as a waiting node does.
func attestingServer(t *testing.T, node attestation.Issuer) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.Creds(atls.ServerCredentials(node, atls.AcceptAnyPeer)))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); require.NoError(t, <-ended) })
	return listener.Addr().String()
}

// pinning is a policy of profile 2.24 that names the attestation key of a node.
func pinning(t *testing.T, node string) string {
	t.Helper()
	d, err := faults.QuoteOf(node, make([]byte, attestation.NonceSize))
	require.NoError(t, err)
	area, err := tpm2.DecodePublic(d.Attestation.AKPub)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: area.RSAParameters.Modulus(), E: 65537})
	require.NoError(t, err)
	return fmt.Sprintf(`{"measurements": {"4": "%064d", "15": "%064d"}, "trustedAKs": ["%x"]}`, 0, 0, sha256.Sum256(der))
}

// startWithPolicy runs the service until stop, after which its log is complete.
func startWithPolicy(t *testing.T, policy string) (address string, screen *terminal, stop func()) {
	t.Helper()
	dir := files(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "policy.json"), []byte(policy), 0o600))
	return startWith(t, good(dir)...)
}

func rejoinWith(t *testing.T, address string, creds credentials.TransportCredentials) (*joinproto.IssueRejoinTicketResponse, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	require.NoError(t, err)
	defer conn.Close()
	request := &joinproto.IssueRejoinTicketRequest{DiskUuid: "12345678-90ab-cdef-1234-567890abcdef"}
	return joinproto.NewAPIClient(conn).IssueRejoinTicket(t.Context(), request)
}
