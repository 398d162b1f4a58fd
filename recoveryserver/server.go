// Package recoveryserver is a key source: it listens for an operator who hands
// the waiting node the key of its state disk.
//
// Trust boundary: anybody may connect. A caller learns the disk's UUID and gets
// an attestation document of this node; a candidate counts only once it has
// been proven against the disk. What strangers can hold open is bounded in
// number and time, and never delays the end of Offer by more than two seconds.
//
// Both published forms of the call are served: two messages with the derived
// keys, or one message with the master secret. The package does not know what
// a key opens.
package recoveryserver

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/sshproof"
	"disk-mapper/proto/recoverproto"

	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Server waits for Recover calls.
type Server struct {
	address string
	issuer  attestation.Issuer
	// operators are whom calls are taken from; if there are none, from anybody.
	operators sshproof.Keys
	log       *zap.Logger
	times     times
	listen    listen
	conns     atomic.Pointer[fairlistener.Listener] // the last one
	calls     atomic.Int64
}

// listening leaves keepalive to HTTP/2: that is five system calls less for each
// connection of a flood.
var listening = net.ListenConfig{KeepAlive: -1}

type listen func(ctx context.Context, network, address string) (net.Listener, error)

// New returns a server for the TCP address, ":9999" on a node. It attests
// itself to callers with issuer, takes calls from operators alone unless there are
// none, and logs as recoveryServer.
func New(address string, issuer attestation.Issuer, operators sshproof.Keys, log *zap.Logger) *Server {
	return &Server{
		address: address, issuer: issuer, operators: operators, log: log.Named("recoveryServer"),
		times: production, listen: listening.Listen,
	}
}

// Counts says how many connections are open, how many Recover calls there were,
// and how many connections were refused, or closed for another one, because
// there were too many. It may be called at any time.
func (s *Server) Counts() map[string]int {
	open, refused := 0, 0
	if conns := s.conns.Load(); conns != nil {
		open, refused = conns.Counts()
	}
	return map[string]int{"openConnections": open, "recoverCalls": int(s.calls.Load()), "refusedConnections": refused}
}

// Offer serves until a candidate is proven or ctx ends, and returns nil then.
// A port that cannot be bound is logged and tried again; the error is for an
// address that is none. The sender of the proven key has its answer when Offer
// returns. Offer returns within two seconds of the end of ctx, if prove returns
// when its own context ends.
func (s *Server) Offer(ctx context.Context, disk keys.DiskID, prove keys.Prove) error {
	s.log.Info("Starting RecoveryServer")
	if _, _, err := net.SplitHostPort(s.address); err != nil {
		return fmt.Errorf("starting the recovery server: %w", err)
	}
	var last string
	for pause := s.times.retry; ; pause = min(2*pause, s.times.maxRetry) {
		err := s.listenAndServe(ctx, disk, prove)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if err.Error() != last { // the same fault again is no news
			s.log.Error("Failed to serve recovery calls, trying again", zap.String("address", s.address), zap.Error(err))
			last = err.Error()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) listenAndServe(ctx context.Context, disk keys.DiskID, prove keys.Prove) error {
	listener, err := s.listen(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	return s.serve(ctx, listener, disk, prove)
}

// serve returns nil once a key is proven or ctx has ended. It owns listener.
func (s *Server) serve(ctx context.Context, listener net.Listener, disk keys.DiskID, prove keys.Prove) error {
	serving, end := context.WithCancel(ctx)
	defer end()
	proofs := newProofs(serving, prove, s.times)
	defer proofs.end()
	proven := make(chan struct{})
	conns := fairlistener.New(listener, connections)
	s.conns.Store(conns)
	lines := &callerLines{log: s.log}
	calls := &calls{
		disk: disk, operators: s.operators, lines: lines, calls: &s.calls, serving: serving, wait: s.times.message,
		proofs: proofs, won: sync.OnceFunc(func() { close(proven) }),
	}
	defer calls.receiving.Wait()
	server := s.newServer(lines)
	recoverproto.RegisterAPIServer(server, calls)

	failed := make(chan error, 1)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { failed <- server.Serve(conns) })
	tasks.Go(func() { lines.shared.Report(serving, s.log) })

	var err error
	select {
	case <-ctx.Done():
	case <-proven:
	case err = <-failed:
	}
	end()
	conns.Stop(server, s.times.grace)
	return err
}

func (s *Server) newServer(lines *callerLines) *grpc.Server {
	return grpc.NewServer(append(fairlistener.ServerOptions(maxMessage),
		grpc.Creds(newHandshakes(s.issuer, s.operators, lines)),
		grpc.StreamInterceptor(logCalls(lines.of)),
		grpc.UnknownServiceHandler(refuseUnknown),
	)...)
}
