package recoveryserver

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/faults"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/sshproof"
	"disk-mapper/proto/recoverproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Vector A of the published key derivation.
const (
	vectorUUID = "12345678-90ab-cdef-1234-567890abcdef"
	vectorURI  = "kms://cluster-kms?key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=&salt=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
)

var (
	vectorKey    = unhex("60616af9434ebe99856112123b7c70a53d338e0afcb4bb6dd939b63e2749eb6c")
	vectorSecret = unhex("ea7fedd14f5a29b1b8545592fc20bfdae06918e4ff447b1a0b8e4f3356005bda")
	wrongKey     = bytes.Repeat([]byte{7}, keys.Size)
)

func unhex(s string) []byte {
	raw, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return raw
}

// stateDisk opens with the key of vector A and takes one winner, as setup does.
type stateDisk struct {
	mu  sync.Mutex
	won [][]byte
}

func (d *stateDisk) prove(_ context.Context, candidate keys.Pair) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.won != nil:
		return keys.ErrDecided
	case !bytes.Equal(candidate.Disk.Bytes(), vectorKey):
		return keys.ErrWrongKey
	}
	d.won = [][]byte{bytes.Clone(candidate.Disk.Bytes()), bytes.Clone(candidate.Measurement.Bytes())}
	return nil
}

// quoting is an issuer and validator whose documents are what they bind.
type quoting struct{}

func (quoting) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (quoting) Issue(_ context.Context, userData, nonce []byte) ([]byte, error) {
	return append(bytes.Clone(userData), nonce...), nil
}

func (q quoting) Validate(ctx context.Context, document, userData, nonce []byte) error {
	want, _ := q.Issue(ctx, userData, nonce)
	if !bytes.Equal(document, want) {
		return errors.New("not the document of this connection")
	}
	return nil
}

// node is a server under test, offering on a real socket.
type node struct {
	address string
	logs    *observer.ObservedLogs
	server  *Server
	end     context.CancelFunc
	ended   chan error
}

type option func(*Server)

func withIssuer(issuer attestation.Issuer) option { return func(s *Server) { s.issuer = issuer } }

func withTimes(change func(*times)) option { return func(s *Server) { change(&s.times) } }

// withoutPauses is for tests of many wrong keys.
var withoutPauses = withTimes(func(times *times) { times.pause, times.maxPause = 0, 0 })

// startNode ends with the test, and fails it if anything is left behind.
func startNode(t testing.TB, prove keys.Prove, options ...option) *node {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	listener, err := listening.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	before := openFiles(t, os.Getpid()) - 1 // without the listener
	server := New(listener.Addr().String(), quoting{}, sshproof.Keys{}, zap.New(core))
	server.listen = func(context.Context, string, string) (net.Listener, error) { return listener, nil }
	for _, change := range options {
		change(server)
	}
	disk, err := keys.ParseDiskID(vectorUUID)
	require.NoError(t, err)

	ctx, end := context.WithCancel(t.Context())
	n := &node{address: listener.Addr().String(), logs: logs, server: server, end: end, ended: make(chan error, 1)}
	go func() { n.ended <- server.Offer(ctx, disk, prove) }()
	t.Cleanup(func() {
		end()
		n.mustEnd(t)
		assertNoLeak(t, before)
	})
	return n
}

// mustEnd waits for the end of Offer, which is bounded. It can be called again.
func (n *node) mustEnd(t testing.TB) {
	t.Helper()
	select {
	case err := <-n.ended:
		require.NoError(t, err)
		n.ended <- nil
	case <-time.After(2 * time.Second):
		t.Fatal("Offer has not returned within 2 s")
	}
}

func (n *node) count(message string) int { return n.logs.FilterMessage(message).Len() }

// assertNoLeak holds once no goroutine serves any more and no descriptor is
// open that was not before.
func assertNoLeak(t testing.TB, before int) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	assert.Eventually(t, func() bool {
		all := string(stacks[:runtime.Stack(stacks, true)])
		open, err := faults.OpenFiles(os.Getpid())
		return err == nil && open <= before && !strings.Contains(all, "google.golang.org/grpc") && !strings.Contains(all, "recoveryserver.(*") && !strings.Contains(all, "fairlistener.(*")
	}, 5*time.Second, 5*time.Millisecond, "goroutines or descriptors outlive Offer")
}

func openFiles(t testing.TB, pid int) int {
	t.Helper()
	open, err := faults.OpenFiles(pid)
	require.NoError(t, err)
	return open
}

// dial connects as an operator does who validates the node's attestation.
// Connections end before the node's own cleanup looks for leaks.
func (n *node) dial(t testing.TB, source ...string) *grpc.ClientConn {
	t.Helper()
	return n.dialWith(t, atls.ClientCredentials(atls.Unattested, atls.Require(quoting{})), source)
}

func (n *node) dialWith(t testing.TB, creds credentials.TransportCredentials, source []string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	var dialer net.Dialer
	for _, ip := range source {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(ip)}
	}
	conn, err := grpc.NewClient("passthrough:///"+n.address, append(options,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// connect opens a raw connection.
func (n *node) connect(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", n.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func secretMessage(raw []byte) *recoverproto.RecoverMessage {
	return &recoverproto.RecoverMessage{Request: &recoverproto.RecoverMessage_MeasurementSecret{MeasurementSecret: raw}}
}

func keyMessage(raw []byte) *recoverproto.RecoverMessage {
	return &recoverproto.RecoverMessage{Request: &recoverproto.RecoverMessage_StateDiskKey{StateDiskKey: raw}}
}

func uriMessage(uri string) *recoverproto.RecoverMessage {
	return &recoverproto.RecoverMessage{
		Request:    &recoverproto.RecoverMessage_KmsUri{KmsUri: uri},
		StorageUri: "storage://no-store",
	}
}

// recoverStreaming calls as clients of v2.0 to v2.4 do.
func recoverStreaming(ctx context.Context, conn *grpc.ClientConn, key []byte) error {
	return converse(ctx, conn, secretMessage(vectorSecret), keyMessage(key))
}

// recoverUnary calls as clients of v2.5 and later do, whose method is not a
// stream for them.
func recoverUnary(ctx context.Context, conn *grpc.ClientConn, uri string) error {
	return conn.Invoke(ctx, recoverproto.API_Recover_FullMethodName, uriMessage(uri), &recoverproto.RecoverResponse{})
}

// converse sends the messages, each after the answer to the one before, and
// returns what the server has to say at the end.
func converse(ctx context.Context, conn *grpc.ClientConn, messages ...*recoverproto.RecoverMessage) error {
	stream, err := recoverproto.NewAPIClient(conn).Recover(ctx)
	if err != nil {
		return err
	}
	for i, message := range messages {
		if err := stream.Send(message); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if i == 0 && response.GetDiskUuid() != vectorUUID {
			return errors.New("unexpected disk UUID " + response.GetDiskUuid())
		}
	}
	return errors.New("the server expects more messages")
}
