package joinservice

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/proto/joinproto"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Limits of the server. A node makes one small call and leaves.
const (
	// maxConnections is what one core can serve well within handshakeTime. More
	// wait, in the order of their arrival, in the listener's queue: then some are
	// served and the others come again, instead of all running out of time together.
	// There is no limit per address: behind a load balancer all nodes have one.
	maxConnections = 512
	// firstByteTime is for those who connect and say nothing, as an honest node
	// never does: they must not keep the nodes in the queue from their turn.
	firstByteTime = 2 * time.Second
	buffer        = 4 << 10 // for reading and for writing, of one connection
	maxStreams    = 4
	maxRequest    = 16 << 10
	maxHeaders    = 8 << 10
	handshakeTime = 10 * time.Second
	drainTime     = 2 * time.Second
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
	server := newServer(self, nodes, log)
	joinproto.RegisterAPIServer(server, tickets)
	connected, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()

	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(bounded{listener, connected}, maxConnections)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		defer time.AfterFunc(drainTime, hangUp).Stop()
		server.GracefulStop()
		if err := <-ended; !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
			return err
		}
		return nil
	}
}

func newServer(self attestation.Issuer, nodes attestation.Validator, log *zap.Logger) *grpc.Server {
	transport := atls.ServerCredentials(self, atls.Require(nodes))
	return grpc.NewServer(
		grpc.Creds(loggedHandshakes{transport, log}),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ReadBufferSize(buffer),
		grpc.WriteBufferSize(buffer),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     10 * time.Second,
			MaxConnectionAge:      60 * time.Second,
			MaxConnectionAgeGrace: 5 * time.Second,
			Time:                  10 * time.Second,
			Timeout:               5 * time.Second,
		}),
	)
}

// bounded ends its connections with the context. The server itself would wait
// for each peer that stays silent in the handshake.
type bounded struct {
	net.Listener
	connected context.Context
}

func (b bounded) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	forget := context.AfterFunc(b.connected, func() { _ = conn.Close() })
	return boundedConn{conn, forget}, nil
}

type boundedConn struct {
	net.Conn
	forget func() bool
}

func (c boundedConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// loggedHandshakes tells the operator why a node was turned away, which gRPC
// keeps to itself.
type loggedHandshakes struct {
	credentials.TransportCredentials
	log *zap.Logger
}

func (l loggedHandshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.shake(raw)
	switch {
	case err == nil:
	case isHangUp(err): // health checks of load balancers do nothing else
		l.log.Debug("Connection without handshake", zap.String("peer", raw.RemoteAddr().String()), zap.Error(err))
	default:
		l.log.Warn("Refused connection", zap.String("peer", raw.RemoteAddr().String()), zap.Error(err))
	}
	return conn, info, err
}

// shake begins once the peer has begun.
func (l loggedHandshakes) shake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	var first [1]byte
	if err := raw.SetReadDeadline(time.Now().Add(firstByteTime)); err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	if _, err := io.ReadFull(raw, first[:]); err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	if err := raw.SetReadDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	return l.TransportCredentials.ServerHandshake(&begunConn{raw, first[:]})
}

// begunConn gives back what was read of it.
type begunConn struct {
	net.Conn
	read []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.read)
	c.read = c.read[n:]
	return n, nil
}

func (l loggedHandshakes) Clone() credentials.TransportCredentials {
	return loggedHandshakes{l.TransportCredentials.Clone(), l.log}
}

func isHangUp(err error) bool {
	var network *net.OpError
	if errors.As(err, &network) && network.Op != "remote error" { // that one is a TLS alert
		return true
	}
	return errors.Is(err, io.EOF)
}
