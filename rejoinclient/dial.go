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
	line := line{endpoint: endpoint, connect: production.connect}
	conn, err := line.dial(issuer, server, maxJoinTicket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return joinproto.NewAPIClient(conn).IssueJoinTicket(ctx, request)
}

// line is the one connection of one attempt.
type line struct {
	endpoint string
	connect  time.Duration
	dialed   atomic.Bool
	reached  atomic.Bool // somebody accepted the connection
}

var (
	errHungUp = errors.New("the endpoint ended the connection before it answered")
	errItself = errors.New("the connection leads to itself")
)

// dial connects with the first call, not before.
func (l *line) dial(issuer attestation.Issuer, server atls.Policy, maxAnswer int) (*grpc.ClientConn, error) {
	// passthrough: the endpoint is an address, not a name for gRPC's resolvers.
	conn, err := grpc.NewClient("passthrough:///"+l.endpoint,
		grpc.WithTransportCredentials(atls.ClientCredentials(issuer, server)),
		grpc.WithContextDialer(l.connectOnce),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithReadBufferSize(buffer),
		grpc.WithWriteBufferSize(buffer),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", l.endpoint, err)
	}
	return conn, nil
}

// connectOnce leaves gRPC no second try: each costs this node an attestation, and
// a peer that says goodbye to every connection could have as many as it likes.
func (l *line) connectOnce(ctx context.Context, address string) (net.Conn, error) {
	if l.dialed.Swap(true) {
		return nil, errHungUp
	}
	dialer := net.Dialer{Timeout: l.connect}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if conn.LocalAddr().String() == conn.RemoteAddr().String() { // TCP can do that
		return nil, errors.Join(errItself, conn.Close())
	}
	l.reached.Store(true)
	return conn, nil
}
