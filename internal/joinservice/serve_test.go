package joinservice_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/faults"
	"disk-mapper/internal/joinservice"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestNoValidatorNoService(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	log := zap.NewNop()
	err = joinservice.Serve(t.Context(), listener, joinservice.NewTickets(vectors["A"].master(t), testSalt(t), log), atls.Unattested, nil, log)
	require.ErrorContains(t, err, "no validator for nodes")
	_, err = net.Dial("tcp", listener.Addr().String())
	require.Error(t, err, "the listener is closed")
}

func TestListenerFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	log := zap.NewNop()
	err = joinservice.Serve(t.Context(), listener, joinservice.NewTickets(vectors["A"].master(t), testSalt(t), log), atls.Unattested, believer("node"), log)
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestStopAtOnce: the end may come before the beginning.
func TestStopAtOnce(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for range 100 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		log := zap.NewNop()
		require.NoError(t, joinservice.Serve(ctx, listener, joinservice.NewTickets(vectors["A"].master(t), testSalt(t), log), atls.Unattested, believer("node"), log))
		_, err = net.Dial("tcp", listener.Addr().String())
		require.Error(t, err)
	}
}

func TestLargeRequest(t *testing.T) {
	server := start(t, vectors["A"].master(t), believer("node"))
	node := dial(t, server.address, claimant("node"))
	_, err := node.IssueJoinTicket(t.Context(), &joinproto.IssueJoinTicketRequest{
		DiskUuid: vectors["A"].disk, CertificateRequest: make([]byte, 16<<10),
	})
	assert.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
}

// TestHangUp is what health checks do: no line above DEBUG.
func TestHangUp(t *testing.T) {
	server := start(t, vectors["A"].master(t), believer("node"))
	conn, err := net.Dial("tcp", server.address)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	line := server.console.next(t, `"msg":"Connection without handshake"`)
	assert.Contains(t, line, `"level":"DEBUG"`)
}

// TestAttestedNodesStay: whoever comes from the same address, say behind a load balancer.
func TestAttestedNodesStay(t *testing.T) {
	server := start(t, vectors["A"].master(t), believer("node"))
	var dialed atomic.Int32
	conn, err := grpc.NewClient("passthrough:///"+server.address,
		grpc.WithTransportCredentials(atls.ClientCredentials(claimant("node"), atls.AcceptAnyPeer)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			dialed.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}))
	require.NoError(t, err)
	defer conn.Close()
	ask := func() error {
		_, err := joinproto.NewAPIClient(conn).IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk})
		return err
	}
	require.NoError(t, ask())
	whole := faults.Hellos[len(faults.Hellos)-1] // as the node has sent one
	for range 600 {                              // more than there may be connections
		if stranger, err := whole.Hold(t.Context(), faults.Target{Address: server.address}, "127.0.0.1"); err == nil { // it may have been closed already
			defer stranger.Close()
		}
	}
	// accepted after the strangers, and so answered when they have been; it has to try again while they fill the line
	_, err = dial(t, server.address, claimant("node")).IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.NoError(t, ask())
	assert.Equal(t, int32(1), dialed.Load(), "the node's connection was closed")
}

// TestStopWithIdlePeer: a node that stays connected does not keep the service
// from stopping.
func TestStopWithIdlePeer(t *testing.T) {
	server := start(t, vectors["A"].master(t), believer("node"))
	node := dial(t, server.address, claimant("node"))
	_, err := node.IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk})
	require.NoError(t, err)
	start := time.Now()
	server.stop()
	require.NoError(t, <-server.ended)
	assert.Less(t, time.Since(start), 3*time.Second)

	_, err = net.Dial("tcp", server.address)
	require.Error(t, err)
}

// TestStopWithSilentPeer: a peer that never began its handshake holds the
// service for the time to drain, not for the time to shake hands.
func TestStopWithSilentPeer(t *testing.T) {
	server := start(t, vectors["A"].master(t), believer("node"))
	silent, err := net.Dial("tcp", server.address)
	require.NoError(t, err)
	defer silent.Close()
	node := dial(t, server.address, claimant("node")) // accepted after the silent one
	_, err = node.IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk})
	require.NoError(t, err)

	start := time.Now()
	server.stop()
	require.NoError(t, <-server.ended)
	assert.Less(t, time.Since(start), 5*time.Second)
}

// TestSilentPeersMakeRoom: as many silent peers as there may be connections keep
// a node waiting for a moment, and are gone then.
func TestSilentPeersMakeRoom(t *testing.T) {
	server := start(t, vectors["A"].master(t), believer("node"))
	for range 600 {
		conn, err := net.Dial("tcp", server.address)
		require.NoError(t, err)
		defer conn.Close()
	}
	start := time.Now()
	node := dial(t, server.address, claimant("node"))
	_, err := node.IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk})
	require.NoError(t, err)
	assert.Less(t, time.Since(start), 8*time.Second, "the time for a handshake is 10 s")
}
