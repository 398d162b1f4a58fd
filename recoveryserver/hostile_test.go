package recoveryserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/printable"
	"disk-mapper/proto/recoverproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// other is where hostile peers come from in tests where the operator must
// still get in.
const other = "127.0.0.2"

// holdCalls opens calls that get as far as messages and then fall silent.
func holdCalls(t *testing.T, conn *grpc.ClientConn, messages ...*recoverproto.RecoverMessage) recoverproto.API_RecoverClient {
	t.Helper()
	stream, err := recoverproto.NewAPIClient(conn).Recover(t.Context())
	require.NoError(t, err)
	for _, message := range messages {
		require.NoError(t, stream.Send(message))
		_, err := stream.Recv()
		require.NoError(t, err)
	}
	return stream
}

// Silent callers neither keep others from recovering the node, nor the node
// from going on (G4, G5).
func TestHeldCalls(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	hostile := n.dial(t, other)
	held := []recoverproto.API_RecoverClient{
		holdCalls(t, hostile, secretMessage(vectorSecret)),
		holdCalls(t, hostile, secretMessage(vectorSecret)),
		holdCalls(t, hostile),
	}
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
	start := time.Now()
	n.mustEnd(t)
	assert.Less(t, time.Since(start), production.grace, "held calls are ended, not waited for")
	for _, stream := range held {
		_, err := stream.Recv()
		assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	}
}

// silence is one way in which a peer can leave a connection hanging.
var silence = map[string]func(t *testing.T, n *node){
	"TCP only": func(t *testing.T, n *node) { n.connect(t) },
	"half a ClientHello": func(t *testing.T, n *node) {
		_, err := n.connect(t).Write([]byte{22, 3, 1, 2, 0, 1, 0})
		require.NoError(t, err)
	},
	"HTTP/2 preface in plain text": func(t *testing.T, n *node) {
		_, err := n.connect(t).Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
		require.NoError(t, err)
	},
	"TLS only": func(t *testing.T, n *node) { n.handshake(t) },
	"TLS and preface": func(t *testing.T, n *node) {
		_, err := n.handshake(t).Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
		require.NoError(t, err)
	},
	"call without a message": func(t *testing.T, n *node) { holdCalls(t, n.dial(t)) },
	"call with one message":  func(t *testing.T, n *node) { holdCalls(t, n.dial(t), secretMessage(vectorSecret)) },
}

// handshake makes a TLS connection that speaks no HTTP/2. Any 32 bytes will do
// as the nonce that attested TLS wants for a server name.
func (n *node) handshake(t *testing.T) net.Conn {
	t.Helper()
	conn := tls.Client(n.connect(t), &tls.Config{
		InsecureSkipVerify: true,
		ServerName:         strings.Repeat("A", 43) + "=",
		NextProtos:         []string{"h2"},
	})
	require.NoError(t, conn.Handshake())
	return conn
}

func TestEndIsBoundedWhateverPeersHoldOpen(t *testing.T) {
	for name, hold := range silence {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, (&stateDisk{}).prove)
			hold(t, n)
			n.end()
			n.mustEnd(t)
		})
	}
}

func TestEndAfterRecoveryIsBoundedWhateverPeersHoldOpen(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	operator := n.dial(t, other)
	for range maxConnsPerPeer {
		n.connect(t)
	}
	require.NoError(t, recoverStreaming(t.Context(), operator, vectorKey))
	n.mustEnd(t)
	_, err := net.Dial("tcp", n.address)
	require.Error(t, err, "the port is closed")
}

// stuck is an issuer whose TPM does not answer.
type stuck struct {
	quoting
	asked chan struct{}
}

func (s stuck) Issue(ctx context.Context, _, _ []byte) ([]byte, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// G18, with a TPM that hangs
func TestEndIsBoundedWithABlockedIssuer(t *testing.T) {
	issuer := stuck{asked: make(chan struct{}, 1)}
	n := startNode(t, (&stateDisk{}).prove, withIssuer(issuer))
	conn := n.dial(t)
	conn.Connect()
	<-issuer.asked
	n.end()
	n.mustEnd(t)
}

// G13, from one address
func TestOnePeerCannotUseUpTheConnections(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	oldest := n.connect(t)
	for range maxConnsPerPeer {
		n.connect(t)
	}
	require.NoError(t, oldest.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err := oldest.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "closed, not silent")
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey), "from the same address")
}

// G11
func TestStreamsOfOneConnectionAreCapped(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	conn := n.dial(t, other)
	for range fairlistener.MaxStreams {
		holdCalls(t, conn, secretMessage(vectorSecret))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, codes.DeadlineExceeded, status.Code(recoverStreaming(ctx, conn, vectorKey)))
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
}

// G16
func TestOtherProtocolsAreRefused(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	plain, err := grpc.NewClient("passthrough:///"+n.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = plain.Close() })
	require.Equal(t, codes.Unavailable, status.Code(recoverStreaming(t.Context(), plain, vectorKey)))

	http := n.connect(t)
	_, err = http.Write([]byte("GET / HTTP/1.1\r\nHost: node\r\n\r\n"))
	require.NoError(t, err)
	answer, _ := io.ReadAll(http)
	assert.NotContains(t, string(answer), "200 OK")

	old := tls.Client(n.connect(t), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
	require.Error(t, old.Handshake())
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey), "the server stays")
	n.mustEnd(t)
	assert.GreaterOrEqual(t, n.count("Refused connection"), 3)
}

// G16 and G17: what a peer can put into a line is short, and JSON escapes it.
func TestUnknownMethods(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	conn := n.dial(t)
	for _, method := range []string{
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/recoverproto.API/Other",
		"/" + strings.Repeat("x", 5000) + "/" + strings.Repeat("y", 1000),
	} {
		err := conn.Invoke(t.Context(), method, uriMessage(vectorURI), &recoverproto.RecoverResponse{})
		require.Equal(t, codes.Unimplemented, status.Code(err))
	}
	lines := n.logs.FilterMessage("finished streaming call with code Unimplemented").All()
	require.Len(t, lines, 3, "one line each")
	for _, line := range lines {
		fields := line.ContextMap()
		assert.LessOrEqual(t, len(fields["grpc.service"].(string)), 2*printable.MaxText)
		assert.LessOrEqual(t, len(fields["grpc.method"].(string)), 2*printable.MaxText)
	}
	require.NoError(t, recoverStreaming(t.Context(), conn, vectorKey), "the server stays")
}

// broken is an issuer whose TPM fails.
type broken struct{ quoting }

var errTPM = errors.New("TPM failure mode")

func (broken) Issue(context.Context, []byte, []byte) ([]byte, error) { return nil, errTPM }

func TestFailingIssuerIsLogged(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove, withIssuer(broken{}))
	require.Equal(t, codes.Unavailable, status.Code(recoverStreaming(t.Context(), n.dial(t), vectorKey)))
	n.end()
	n.mustEnd(t) // the peer knows before the log does
	lines := n.logs.FilterMessage("Failed to issue attestation document").All()
	require.NotEmpty(t, lines)
	assert.Contains(t, lines[0].ContextMap()["error"], errTPM.Error())
}
