package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/dial"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/recoverproto"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

const (
	maxResponse = 4 << 10
	maxHeaders  = 8 << 10
)

// Faults of a node that does not keep to the protocol.
var (
	errNodeMessage = errors.New("the node sent a message that is not part of the protocol")
	errNodeEnd     = errors.New("the node ended the call before it got its key")
)

// caller hands keys to the nodes at one address.
type caller struct {
	address    string // HOST:PORT
	nodes      atls.Policy
	master     keys.MasterSecret
	secretFile string // where master is from
	pace       pace
	operator   *identity // nil if nodes take calls from anybody
}

// push makes a connection of its own and gives the node at its other end what
// it needs. It returns nil once the node has confirmed that the key opens its
// disk.
func (c caller) push(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.pace.attempt)
	defer cancel()
	line := line{dialer: dial.Dialer{Resolve: c.pace.dial, Connect: c.pace.dial}}
	conn, err := c.dial(&line)
	if err != nil {
		return err
	}
	defer conn.Close()
	disk, err := handOver(ctx, recoverproto.NewAPIClient(conn), c.master)
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) { // the node may have noticed first, and say so in its own way
		err = status.FromContextError(ctx.Err()).Err()
	}
	return c.explain(err, disk, line.lastFault())
}

func (c caller) dial(line *line) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithContextDialer(line.dial),
		grpc.WithTransportCredentials(line.watch(c.handshakes())),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: c.pace.dial}),
		grpc.WithDisableServiceConfig(),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
	}
	if c.operator != nil {
		options = append(options, grpc.WithPerRPCCredentials(*c.operator))
	}
	return grpc.NewClient("passthrough:///"+c.address, options...)
}

// handshakes have the operator introduced in the ClientHello, if there is one to
// prove.
func (c caller) handshakes() credentials.TransportCredentials {
	if c.operator == nil {
		return atls.ClientCredentials(atls.Unattested, c.nodes)
	}
	return atls.Introduced(atls.Unattested, c.nodes, c.operator.introduce)
}

// handOver speaks the streaming form of Recover: measurement secret, the disk's
// UUID back, the key of that disk. It returns the disk as soon as it is known.
func handOver(ctx context.Context, node recoverproto.APIClient, master keys.MasterSecret) (keys.DiskID, error) {
	measurement, err := master.MeasurementSecret()
	if err != nil {
		return keys.DiskID{}, err
	}
	defer measurement.Wipe()
	stream, err := node.Recover(ctx)
	if err != nil {
		return keys.DiskID{}, err
	}
	first := &recoverproto.RecoverMessage_MeasurementSecret{MeasurementSecret: measurement.Bytes()}
	if err := send(stream, &recoverproto.RecoverMessage{Request: first}); err != nil {
		return keys.DiskID{}, err
	}
	disk, err := receiveDisk(stream)
	if err != nil {
		return keys.DiskID{}, err
	}
	return disk, sendKey(stream, master, disk)
}

func receiveDisk(stream recoverproto.API_RecoverClient) (keys.DiskID, error) {
	response, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return keys.DiskID{}, errNodeEnd
	}
	if err != nil {
		return keys.DiskID{}, err
	}
	disk, err := keys.ParseDiskID(response.GetDiskUuid())
	if err != nil {
		return keys.DiskID{}, fmt.Errorf("%w: %w", errNodeMessage, err)
	}
	return disk, nil
}

func sendKey(stream recoverproto.API_RecoverClient, master keys.MasterSecret, disk keys.DiskID) error {
	key, err := master.DiskKey(disk)
	if err != nil {
		return err
	}
	defer key.Wipe()
	second := &recoverproto.RecoverMessage_StateDiskKey{StateDiskKey: key.Bytes()}
	if err := send(stream, &recoverproto.RecoverMessage{Request: second}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	switch _, err := stream.Recv(); {
	case errors.Is(err, io.EOF): // OK
		return nil
	case err != nil:
		return err
	default:
		return errNodeMessage
	}
}

// send returns the node's reason if it has ended the call already.
func send(stream recoverproto.API_RecoverClient, message *recoverproto.RecoverMessage) error {
	err := stream.Send(message)
	if !errors.Is(err, io.EOF) {
		return err
	}
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		return errNodeEnd
	}
	return err
}
