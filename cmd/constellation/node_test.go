package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/proto/recoverproto"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// claim is a document without a TPM: it proves nothing, but is fresh or not.
type claim struct {
	UserData, Nonce []byte
	Machine         string
}

// claimant issues claims of one machine.
type claimant string

func (claimant) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (c claimant) Issue(_ context.Context, userData, nonce []byte) ([]byte, error) {
	return json.Marshal(claim{userData, nonce, string(c)})
}

var errOtherMachine = errors.New("untrusted measurement value 00 at index 4")

// believer accepts the claims of one machine.
type believer string

func (believer) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (b believer) Validate(_ context.Context, document, userData, nonce []byte) error {
	var got claim
	if err := json.Unmarshal(document, &got); err != nil {
		return err
	}
	if !bytes.Equal(got.UserData, userData) || !bytes.Equal(got.Nonce, nonce) || got.Machine != string(b) {
		return errOtherMachine
	}
	return nil
}

type stream = recoverproto.API_RecoverServer

// waitingNode is a recovery server that follows a script: each call is served
// by the next handler; after the last one no more connections are taken.
type waitingNode struct {
	recoverproto.UnimplementedAPIServer
	calls    chan func(stream) error
	server   *grpc.Server
	listener *endingListener
}

func (n *waitingNode) Recover(s stream) error {
	handle := <-n.calls
	if len(n.calls) == 0 {
		go n.server.GracefulStop()
		<-n.listener.closed // before the caller can connect again
	}
	return handle(s)
}

// endingListener says when it has been closed.
type endingListener struct {
	net.Listener
	once   sync.Once
	closed chan struct{}
}

func (l *endingListener) Close() error {
	defer l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// startNode serves the script on loopback and returns the address.
func startNode(t *testing.T, issuer attestation.Issuer, script ...func(stream) error) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serveNode(t, listener, issuer, script...)
	return listener.Addr().String()
}

func serveNode(t *testing.T, listener net.Listener, issuer attestation.Issuer, script ...func(stream) error) {
	t.Helper()
	server := grpc.NewServer(grpc.Creds(atls.ServerCredentials(issuer, atls.AcceptAnyPeer)))
	ending := &endingListener{Listener: listener, closed: make(chan struct{})}
	node := &waitingNode{calls: make(chan func(stream) error, len(script)), server: server, listener: ending}
	for _, handler := range script {
		node.calls <- handler
	}
	recoverproto.RegisterAPIServer(server, node)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ending) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
}

// receipt is what a node got.
type receipt struct{ measurement, key []byte }

// takeKey is the node's side of the streaming form. Its end is left to verdict.
func takeKey(disk string, got chan<- receipt, verdict error) func(stream) error {
	return func(s stream) error {
		first, err := s.Recv()
		if err != nil {
			return err
		}
		if err := s.Send(&recoverproto.RecoverResponse{DiskUuid: disk}); err != nil {
			return err
		}
		second, err := s.Recv()
		if err != nil {
			return err
		}
		got <- receipt{first.GetMeasurementSecret(), second.GetStateDiskKey()}
		return verdict
	}
}

// listenRaw hands each connection to peer, on loopback, and closes it at last.
func listenRaw(t *testing.T, peer func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var peers sync.WaitGroup
	peers.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			peers.Go(func() { defer conn.Close(); peer(conn) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		peers.Wait()
	})
	return listener.Addr().String()
}
