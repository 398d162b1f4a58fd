//go:build cgo

// The TPM simulator needs cgo.
package main

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/verify"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/internal/joinservice"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/logging"
	"disk-mapper/proto/joinproto"

	"github.com/google/go-tpm-tools/simulator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

const zeroPolicy21 = `{"measurements": {"4": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "12": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, "enforcedPCRs": [4, 12]}`

var initrdOnlyWarned = strings.Replace(zeroPolicy, `"4"`, `"9": {"expected": "`+strings.Repeat("04", 32)+`", "warnOnly": true}, "4"`, 1)

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
	for name, tt := range map[string]struct {
		compat string
		policy string
		node   attestation.Binding
		logged string // why the node is refused; empty means it is served
	}{
		"node of 2.24":        {"2.24", zeroPolicy, attestation.BindHashChain, ""},
		"node of 2.1":         {"2.1", zeroPolicy21, attestation.BindSigned, ""},
		"node of 2.1 as 2.24": {"2.24", zeroPolicy, attestation.BindSigned, "peer refused"},
		"node of 2.24 as 2.1": {"2.1", zeroPolicy21, attestation.BindHashChain, "peer refused"},
		"node of no cloud":    {"2.24", `{"variant": "aws-sev-snp", "snp": {"minimumTCB": {"bootloader": 0, "tee": 0, "snp": 0, "microcode": 0}}, ` + zeroPolicy[1:], attestation.BindHashChain, "attestation variant is not accepted"},
		"other kernel":        {"2.24", strings.Replace(zeroPolicy, "00", "04", 1), attestation.BindHashChain, "measurement 4 differs"},
		"initrd, only warned": {"2.24", initrdOnlyWarned, attestation.BindHashChain, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tpm := startSimulator(t) // of its own: quotes of one profile spoil it for another
			dir := files(t)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "policy.json"), []byte(tt.policy), 0o600))
			address, screen, stop := startWith(t, append(good(dir), "--compat", tt.compat)...)
			ticket, err := rejoin(t, address, tpm.Issuer(tt.node))
			stop()
			if tt.logged != "" {
				require.Error(t, err)
				assert.Contains(t, screen.String(), tt.logged)
				return
			}
			require.NoError(t, err, "the service said:\n%s", screen)
			assert.Equal(t, "60616af9434ebe99856112123b7c70a53d338e0afcb4bb6dd939b63e2749eb6c", hex.EncodeToString(ticket.GetStateDiskKey()))
			assert.Equal(t, name == "initrd, only warned", strings.Contains(screen.String(), `"level":"WARN"`))
		})
	}
}

func rejoin(t *testing.T, address string, node attestation.Issuer) (*joinproto.IssueRejoinTicketResponse, error) {
	t.Helper()
	request := &joinproto.IssueRejoinTicketRequest{DiskUuid: "12345678-90ab-cdef-1234-567890abcdef"}
	return speakTo(t, address, node, atls.AcceptAnyPeer).IssueRejoinTicket(t.Context(), request)
}

func speakTo(t *testing.T, address string, node attestation.Issuer, server atls.Policy) joinproto.APIClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(atls.ClientCredentials(node, server)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return joinproto.NewAPIClient(conn)
}

// TestWarningsAreRationed: lines about accepted nodes are given out by network, and
// what is left out is counted.
func TestWarningsAreRationed(t *testing.T) {
	tpm := startSimulator(t)
	address, screen, stop := startWithPolicy(t, initrdOnlyWarned)
	from := func(local string) {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(atls.ClientCredentials(tpm.Issuer(attestation.BindHashChain), atls.AcceptAnyPeer)),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", address)
			}))
		require.NoError(t, err)
		defer conn.Close()
		_, err = joinproto.NewAPIClient(conn).IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: "12345678-90ab-cdef-1234-567890abcdef"})
		require.NoError(t, err)
	}
	lines := func() int {
		return strings.Count(screen.String(), `"msg":"Node differs from the policy, not enforced"`)
	}
	calls := 0
	for ; lines() == calls; calls++ { // a slow machine makes some of them in the next interval
		require.Less(t, calls, 200, "no line was left out")
		from("127.0.0.1")
	}
	before := lines()
	from("127.0.0.2")
	assert.Equal(t, before+1, lines(), "another network has lines of its own")
	stop()
	leftOut := 0
	for _, match := range regexp.MustCompile(`"msg":"Left out lines about callers","lines":(\d+)`).FindAllStringSubmatch(screen.String(), -1) {
		n, err := strconv.Atoi(match[1])
		require.NoError(t, err)
		leftOut += n
	}
	assert.Equal(t, calls-before, leftOut)
}

// TestAttestsItself: with a TPM, nodes can tell this service from another. Both
// sides have genuine documents, of the one simulated TPM.
func TestAttestsItself(t *testing.T) {
	tpm := startSimulator(t)
	policy, err := verify.ParsePolicy([]byte(zeroPolicy))
	require.NoError(t, err)
	other, err := verify.ParsePolicy([]byte(strings.ReplaceAll(zeroPolicy, "000", "040")))
	require.NoError(t, err)
	node := verify.New(policy, attestation.BindHashChain, nil, nil)
	self := tpm.Issuer(attestation.BindHashChain)
	require.NoError(t, tryOnce(t.Context(), self))
	for name, tt := range map[string]struct {
		self   attestation.Issuer
		policy verify.Policy
		why    string // empty means that the node believes the service
	}{
		"believed":     {self, policy, ""},
		"other image":  {self, other, "measurement 4 differs"},
		"not attested": {atls.Unattested, policy, "certificate has no attestation document"},
	} {
		t.Run(name, func(t *testing.T) {
			master, err := keys.ParseMasterSecret([]byte(secretFile))
			require.NoError(t, err)
			salt, err := keys.NewMeasurementSalt(make([]byte, keys.Size))
			require.NoError(t, err)
			address, _, _ := startService(t, func(ctx context.Context, stderr io.Writer) error {
				log := logging.New(stderr, 0).Named("joinService")
				return serve(ctx, "127.0.0.1:0", joinservice.NewTickets(master, salt, log), tt.self, node, log)
			})
			service := speakTo(t, address, tpm.Issuer(attestation.BindHashChain), atls.Require(verify.New(tt.policy, attestation.BindHashChain, nil, nil)))
			ticket, err := service.IssueJoinTicket(t.Context(), &joinproto.IssueJoinTicketRequest{DiskUuid: "12345678-90ab-cdef-1234-567890abcdef"})
			if tt.why != "" {
				require.ErrorContains(t, err, tt.why)
				return
			}
			require.NoError(t, err)
			assert.Len(t, ticket.GetStateDiskKey(), keys.Size)
		})
	}
}

// TestAttestWithoutTPM: who asks for attestation and has no TPM gets no service.
func TestAttestWithoutTPM(t *testing.T) {
	if _, err := os.Stat("/dev/tpmrm0"); err == nil {
		t.Skip("this machine has a TPM, which is not for tests")
	}
	err := run(t.Context(), append(good(files(t)), "--attest"), newTerminal())
	require.ErrorContains(t, err, "opening the TPM: open /dev/tpmrm0")
}
