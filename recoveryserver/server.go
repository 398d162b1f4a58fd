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
	counts    counts
}

// counts are of all that the server has seen.
type counts struct{ open, calls, refused atomic.Int64 }

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
	return map[string]int{
		"openConnections":    int(s.counts.open.Load()),
		"recoverCalls":       int(s.counts.calls.Load()),
		"refusedConnections": int(s.counts.refused.Load()),
	}
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
	var leftOut atomic.Int64
	strangers := ration(s.log, &leftOut)
	proven := make(chan struct{})
	conns := &cappedListener{Listener: listener, counts: &s.counts}
	server := s.newServer(serving, strangers)
	calls := &calls{
		disk: disk, operators: s.operators, log: strangers, counts: &s.counts, serving: serving, wait: s.times.message,
		proofs: &proofs{prove: prove, serving: serving, pauses: pauses{first: s.times.pause, longest: s.times.maxPause}},
		won:    sync.OnceFunc(func() { close(proven) }),
	}
	defer calls.receiving.Wait()
	recoverproto.RegisterAPIServer(server, calls)

	failed := make(chan error, 1)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { failed <- server.Serve(conns) })
	tasks.Go(func() { reportLeftOut(serving, s.log, &leftOut) })

	var err error
	select {
	case <-ctx.Done():
	case <-proven:
	case err = <-failed:
	}
	end()
	stop(server, conns, s.times.grace)
	return err
}

func (s *Server) newServer(serving context.Context, log *zap.Logger) *grpc.Server {
	desk := &desk{issuer: s.issuer, serving: serving, log: log}
	return grpc.NewServer(append(limits(),
		grpc.Creds(newHandshakes(desk, log)),
		grpc.StreamInterceptor(logCalls(log.Named("gRPC"))),
		grpc.UnknownServiceHandler(refuseUnknown),
	)...)
}

// stop lets calls end for as long as grace, then closes what is still open:
// first below gRPC, because Stop waits for handshakes that peers hold open. All
// handlers have returned when it does.
func stop(server *grpc.Server, conns *cappedListener, grace time.Duration) {
	var graceful sync.WaitGroup
	defer graceful.Wait()
	ended := make(chan struct{})
	graceful.Go(func() { server.GracefulStop(); close(ended) })
	select {
	case <-ended:
	case <-time.After(grace):
	}
	conns.closeAll()
	server.Stop()
}
