package rejoinclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/dial"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

var (
	errHungUp  = errors.New("the endpoint ended the connection before it answered")
	errItself  = errors.New("the connection leads to itself")
	errTooMuch = errors.New("the endpoint sent more than any answer has")
)

// connect fails as gRPC would: operators know that text. It is apart from gRPC
// because most of its cost is not needed for an endpoint that is not there.
func connect(ctx context.Context, endpoint string, t times) (net.Conn, error) {
	conn, err := dial.Dialer{Resolve: t.resolve, Connect: t.connect}.TCP(ctx, endpoint)
	if err == nil {
		err = notItself(conn)
	}
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "connection error: desc = %q", "transport: Error while dialing: "+err.Error())
	}
	return conn, nil
}

// notItself closes a connection that TCP has made with itself.
func notItself(conn net.Conn) error {
	if conn.LocalAddr().String() == conn.RemoteAddr().String() {
		return errors.Join(errItself, conn.Close())
	}
	return nil
}

// over returns a client whose one connection is conn. There is no second one:
// each costs this node an attestation, and a peer that says goodbye to every
// connection could have as many as it likes.
func over(conn net.Conn, issuer attestation.Issuer, server atls.Policy, maxAnswer int) (*grpc.ClientConn, error) {
	var used atomic.Bool
	// passthrough: what is dialed is conn, not a name for gRPC's resolvers.
	client, err := grpc.NewClient("passthrough:///"+conn.RemoteAddr().String(),
		grpc.WithTransportCredentials(answering{atls.ClientCredentials(issuer, server), maxAnswer + maxTalk}),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, errHungUp
			}
			return &measured{Conn: conn, left: maxHandshake}, nil
		}),
		// How long the handshake may take, the attempt decides.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 2 * atls.Patience}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithReadBufferSize(buffer),
		grpc.WithWriteBufferSize(buffer),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to %s: %w", conn.RemoteAddr(), err), conn.Close())
	}
	return client, nil
}

// measured reads so much and no more. HTTP/2 has frames that cost their receiver
// work and are part of no answer.
type measured struct {
	net.Conn
	left int // belongs to the one goroutine that reads
}

func (m *measured) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errTooMuch
	}
	n, err := m.Conn.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err
}

// answering lets the peer send so much after the handshake. What the handshake may
// have is another matter: there are certificates in it.
type answering struct {
	credentials.TransportCredentials
	longest int
}

func (a answering) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := a.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if m, ok := raw.(*measured); ok {
		m.left = a.longest
	}
	return conn, info, err
}

func (a answering) Clone() credentials.TransportCredentials {
	return answering{a.TransportCredentials.Clone(), a.longest}
}
