package rejoinclient

import (
	"context"
	"fmt"
	"net"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"google.golang.org/grpc"
)

// RequestJoin asks the JoinService at endpoint (HOST:PORT) once for what a new
// node needs, over attested TLS. It refuses a disk UUID that is not canonical
// with keys.ErrDiskID; other errors are the gRPC status of the call. How long
// it may take is up to ctx. The ticket holds secrets: the caller wipes it.
func RequestJoin(ctx context.Context, endpoint string, issuer attestation.Issuer, request *joinproto.IssueJoinTicketRequest) (*joinproto.IssueJoinTicketResponse, error) {
	if _, err := keys.ParseDiskID(request.GetDiskUuid()); err != nil {
		return nil, fmt.Errorf("requesting a join ticket: %w", err)
	}
	conn, err := dial(endpoint, issuer, production.connect, maxJoinTicket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return joinproto.NewAPIClient(conn).IssueJoinTicket(ctx, request)
}

// dial connects with the first call, not before.
func dial(endpoint string, issuer attestation.Issuer, connect time.Duration, maxAnswer int) (*grpc.ClientConn, error) {
	// AcceptAnyPeer: a JoinService has no attestation to show. A rogue one learns
	// that this node exists; its key fails at the disk.
	creds := atls.ClientCredentials(issuer, atls.AcceptAnyPeer)
	dialer := net.Dialer{Timeout: connect}
	// passthrough: the endpoint is an address, not a name for gRPC's resolvers.
	conn, err := grpc.NewClient("passthrough:///"+endpoint,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", addr)
		}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", endpoint, err)
	}
	return conn, nil
}
