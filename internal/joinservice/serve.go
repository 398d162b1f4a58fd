package joinservice

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/fairlistener"
	"disk-mapper/proto/joinproto"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// errNoValidator is a defect of the caller: nodes are never served unjudged.
var errNoValidator = errors.New("joinservice: no validator for nodes")

// Serve attests this machine with self, or not (atls.Unattested), and answers
// nodes that nodes accepts, on listener, until ctx ends. It then
// returns nil as soon as the calls in flight are answered, and after drainTime
// whatever the peers do. It closes listener. Connections refused in the
// handshake are logged to log.
func Serve(ctx context.Context, listener net.Listener, tickets *Tickets, self attestation.Issuer, nodes attestation.Validator, log *zap.Logger) error {
	if nodes == nil {
		return errors.Join(errNoValidator, listener.Close())
	}
	conns, lines := fairlistener.New(listener, connections), new(fairlistener.Lines)
	server := newServer(self, nodes, lines, log)
	joinproto.RegisterAPIServer(server, tickets)
	serving, end := context.WithCancel(ctx)
	var reports sync.WaitGroup
	defer reports.Wait()
	defer end()
	reports.Go(func() { lines.Report(serving, log) })

	ended := make(chan error, 1)
	go func() { ended <- server.Serve(conns) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		conns.Stop(server, drainTime)
		if err := <-ended; !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
			return err
		}
		return nil
	}
}

func newServer(self attestation.Issuer, nodes attestation.Validator, lines *fairlistener.Lines, log *zap.Logger) *grpc.Server {
	handshakes := fairlistener.Handshakes{Self: self, Peers: atls.Require(nodes)}
	return grpc.NewServer(append(fairlistener.ServerOptions(maxRequest),
		grpc.Creds(nodesOnly{handshakes.Credentials(), lines, log}),
		grpc.ReadBufferSize(buffer),
		grpc.WriteBufferSize(buffer),
	)...)
}

// nodesOnly tells the operator why a node was turned away, which gRPC keeps to
// itself, and that who was not turned away has proven itself.
type nodesOnly struct {
	credentials.TransportCredentials
	lines *fairlistener.Lines
	log   *zap.Logger
}

func (n nodesOnly) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := n.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		n.logFailure(raw, err)
		return nil, nil, err
	}
	info.(fairlistener.AuthInfo).Conn.Trust()
	return conn, info, nil
}

func (n nodesOnly) logFailure(raw net.Conn, err error) {
	log := n.lines.About(n.log, fairlistener.NetworkOf(raw.RemoteAddr()), false)
	peer, reason := zap.String("peer", raw.RemoteAddr().String()), fairlistener.Reason(err)
	switch {
	case isHangUp(err): // health checks of load balancers do nothing else
		log.Debug("Connection without handshake", peer, reason)
	case errors.Is(err, fairlistener.ErrQuote):
		log.Error("Failed to issue attestation document", peer, reason)
	default:
		log.Warn("Refused connection", peer, reason)
	}
}

func (n nodesOnly) Clone() credentials.TransportCredentials { return n }

func isHangUp(err error) bool {
	var network *net.OpError
	if errors.As(err, &network) && network.Op != "remote error" { // that one is a TLS alert
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, fairlistener.ErrHungUp)
}
