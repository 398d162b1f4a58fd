package recoveryserver

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"testing"

	"disk-mapper/internal/sshproof"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func newOperator(t *testing.T) (ssh.Signer, sshproof.Keys) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromSigner(key)
	require.NoError(t, err)
	operators, err := sshproof.ParseKeys([]string{base64.StdEncoding.EncodeToString(signer.PublicKey().Marshal())})
	require.NoError(t, err)
	return signer, operators
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
