package recoveryserver

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"testing"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/faults"
	"disk-mapper/internal/sshproof"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func newOperator(t testing.TB) (ssh.Signer, sshproof.Keys) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromSigner(key)
	require.NoError(t, err)
	operators, err := sshproof.ParseKeys([]string{base64.StdEncoding.EncodeToString(signer.PublicKey().Marshal())})
	require.NoError(t, err)
	return signer, operators
}

// introduced proves the key to the node twice, as constellation recover does: in the
// ClientHello, and with each call.
type introduced struct{ key ssh.Signer }

func (i introduced) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	request, _ := credentials.RequestInfoFromContext(ctx)
	proof, err := sshproof.Prove(request.AuthInfo.(credentials.TLSInfo).State, i.key)
	return map[string]string{sshproof.Header: string(proof)}, err
}

func (introduced) RequireTransportSecurity() bool { return true }

func (i introduced) hello(serverName string) ([]string, error) {
	return sshproof.ProveHello(serverName, i.key)
}

// dialAs connects as an operator who is named.
func (n *node) dialAs(t testing.TB, key ssh.Signer, source ...string) *grpc.ClientConn {
	t.Helper()
	as := introduced{key}
	return n.dialWith(t, atls.Introduced(atls.Unattested, atls.Require(quoting{}), as.hello), source, grpc.WithPerRPCCredentials(as))
}

// An operator goes before the strangers who wait for quotes, from the same address.
func TestNamedOperatorGoesFirst(t *testing.T) {
	key, operators := newOperator(t)
	tpm := gate{turns: make(chan struct{}), asked: make(chan struct{}, 1000)}
	n := startNode(t, (&stateDisk{}).prove, withIssuer(tpm), func(s *Server) { s.operators = operators })
	n.hold(t, faults.Hellos[3], 2*maxWaiting) // who do not come again
	<-tpm.asked                               // one has its turn
	refused := func(so int) {
		t.Helper()
		require.Eventually(t, func() bool { return n.server.Counts()["refusedConnections"] == so }, 5*time.Second, time.Millisecond)
	}
	refused(maxWaiting - 1) // the queue is full
	operator := n.dialAs(t, key, faults.Sources(1)[0])
	won := make(chan error, 1)
	go func() { won <- recoverStreaming(t.Context(), operator, vectorKey) }()
	refused(maxWaiting)     // a stranger has given way
	tpm.turns <- struct{}{} // for the stranger who has the turn
	<-tpm.asked
	tpm.turns <- struct{}{} // for the operator
	select {
	case err := <-won:
		require.NoError(t, err)
	case <-tpm.asked: // the next stranger's
		require.NoError(t, <-won)
	}
	n.end()
}

// gate is a TPM that makes a quote when it is told to.
type gate struct {
	quoting
	turns, asked chan struct{}
}

func (g gate) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	g.asked <- struct{}{}
	select {
	case <-g.turns:
		return g.quoting.Issue(ctx, userData, nonce)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// With operators named, a caller who is none cannot even send a message, and
// learns no UUID. A proof is good for the session that it was made for.
func TestOnlyOperatorsAreServed(t *testing.T) {
	operator, operators := newOperator(t)
	n := startNode(t, (&stateDisk{}).prove, func(s *Server) { s.operators = operators })
	elsewhere := n.handshake(t).(*tls.Conn).ConnectionState()
	stolen, err := sshproof.Prove(elsewhere, operator)
	require.NoError(t, err)
	for name, headers := range map[string][]string{
		"no proof":             nil,
		"no signature":         {sshproof.Header, "x"},
		"of another session":   {sshproof.Header, string(stolen)},
		"two proofs":           {sshproof.Header, string(stolen), sshproof.Header, string(stolen)},
		"under another header": {"authorization", string(stolen[:6])},
	} {
		t.Run(name, func(t *testing.T) {
			conn := n.dial(t)
			ctx := metadata.AppendToOutgoingContext(t.Context(), headers...)
			require.Equal(t, codes.Unauthenticated, status.Code(recoverStreaming(ctx, conn, vectorKey)))
			require.Equal(t, codes.Unauthenticated, status.Code(recoverUnary(ctx, conn, vectorURI)))
		})
	}
	assert.Zero(t, n.count(provenLine))
}
