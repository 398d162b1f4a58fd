package rejoinclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// RequestJoin asks the JoinService at endpoint (HOST:PORT) once for what a new
// node needs, over attested TLS, if server accepts it. It refuses a disk UUID
// that is not canonical with keys.ErrDiskID; other errors are the gRPC status of
// the call. How long it may take is up to ctx. The ticket holds secrets: the
// caller wipes it.
func RequestJoin(ctx context.Context, endpoint string, issuer attestation.Issuer, server atls.Policy, request *joinproto.IssueJoinTicketRequest) (*joinproto.IssueJoinTicketResponse, error) {
	if _, err := keys.ParseDiskID(request.GetDiskUuid()); err != nil {
		return nil, fmt.Errorf("requesting a join ticket: %w", err)
	}
	conn, err := connect(ctx, endpoint, production.connect)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client, err := over(conn, issuer, server, maxJoinTicket)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return joinproto.NewAPIClient(client).IssueJoinTicket(ctx, request)
}

var (
	errHungUp = errors.New("the endpoint ended the connection before it answered")
	errItself = errors.New("the connection leads to itself")
)

// connect fails as gRPC would: operators know that text. It is apart from gRPC
// because most of its cost is not needed for an endpoint that is not there.
func connect(ctx context.Context, endpoint string, limit time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: limit}
	conn, err := dialer.DialContext(ctx, "tcp", endpoint)
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
		grpc.WithTransportCredentials(atls.ClientCredentials(issuer, server)),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, errHungUp
			}
			return conn, nil
		}),
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
