package recoveryserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/sshproof"
	"disk-mapper/proto/recoverproto"

	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// recoverStream is a bidirectional stream that also serves unary callers.
type recoverStream = grpc.BidiStreamingServer[recoverproto.RecoverMessage, recoverproto.RecoverResponse]

// calls answers the Recover calls of one Offer. No call waits for another one:
// a silent client holds up nobody.
type calls struct {
	recoverproto.UnimplementedAPIServer
	disk      keys.DiskID
	operators sshproof.Keys
	proofs    *proofs
	calls     *atomic.Int64
	lines     *callerLines
	serving   context.Context // ends when no more messages are wanted
	wait      time.Duration   // for each message
	won       func()          // reports that a key was proven

	receiving sync.WaitGroup // goroutines in receive
}

// Recover takes both published forms; the first message tells which.
func (c *calls) Recover(stream recoverStream) error {
	c.calls.Add(1)
	notOperator := c.authorise(stream.Context()) // before the line: operators' own are not rationed
	c.lines.of(stream.Context()).Info("Received recover call")
	if notOperator != nil {
		return notOperator
	}
	first, err := c.receive(stream)
	if err != nil {
		return err
	}
	switch request := first.GetRequest().(type) {
	case *recoverproto.RecoverMessage_MeasurementSecret:
		return c.recoverStreaming(stream, request.MeasurementSecret)
	case *recoverproto.RecoverMessage_KmsUri:
		return c.recoverUnary(stream, request.KmsUri)
	}
	return status.Error(codes.InvalidArgument, "first message is not a measurement secret")
}

// authorise takes nothing from a caller who is no operator.
func (c *calls) authorise(ctx context.Context) error {
	if c.operators.Empty() {
		return nil
	}
	proofs := metadata.ValueFromIncomingContext(ctx, sshproof.Header)
	if len(proofs) != 1 {
		return status.Error(codes.Unauthenticated, "this node takes calls only with the proof of an operator's SSH key")
	}
	caller := info(ctx)
	if err := c.operators.Verify(caller.State, []byte(proofs[0])); err != nil {
		return status.Error(codes.Unauthenticated, err.Error())
	}
	caller.Conn.Trust()
	return nil
}

// recoverStreaming is the form of v2.0 to v2.4. The call ends with the key: to
// wait for the client's end of stream would be to wait for a peer.
func (c *calls) recoverStreaming(stream recoverStream, secret []byte) error {
	defer clear(secret)
	measurement, err := keys.NewMeasurementSecret(secret)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	defer measurement.Wipe()
	key, err := c.requestDiskKey(stream)
	if err != nil {
		return err
	}
	defer key.Wipe()
	return c.accept(stream.Context(), keys.Pair{Disk: key, Measurement: measurement})
}

func (c *calls) requestDiskKey(stream recoverStream) (keys.DiskKey, error) {
	if err := stream.Send(&recoverproto.RecoverResponse{DiskUuid: c.disk.String()}); err != nil {
		return keys.DiskKey{}, status.Error(codes.Internal, "failed to send response")
	}
	second, err := c.receive(stream)
	if err != nil {
		return keys.DiskKey{}, err
	}
	request, ok := second.GetRequest().(*recoverproto.RecoverMessage_StateDiskKey)
	if !ok {
		return keys.DiskKey{}, status.Error(codes.InvalidArgument, "second message is not a state disk key")
	}
	defer clear(request.StateDiskKey)
	key, err := keys.NewDiskKey(request.StateDiskKey)
	if err != nil {
		return keys.DiskKey{}, status.Error(codes.InvalidArgument, err.Error())
	}
	return key, nil
}

// recoverUnary is the form of v2.5 and later: the node derives its own keys.
func (c *calls) recoverUnary(stream recoverStream, uri string) error {
	master, err := parseKMSURI(uri)
	if err != nil {
		return status.Error(codes.InvalidArgument, "creating kms client: "+err.Error())
	}
	defer master.Wipe()
	pair, err := master.Pair(c.disk)
	if err != nil {
		return status.Error(codes.Internal, "requesting stateDiskKey: "+err.Error())
	}
	defer pair.Wipe()
	if err := c.accept(stream.Context(), pair); err != nil {
		return err
	}
	if err := stream.Send(&recoverproto.RecoverResponse{}); err != nil {
		return status.Error(codes.Internal, "failed to send response")
	}
	return nil
}

// accept has the candidate proven. The context is the stream's: that of Offer
// may end while its own winner is still to be answered.
func (c *calls) accept(ctx context.Context, candidate keys.Pair) error {
	err := c.proofs.try(ctx, connection(ctx), candidate)
	if err != nil {
		c.lines.of(ctx).Warn("Refused recovery key", zap.String("peer.address", peerAddress(ctx)), fairlistener.Reason(err))
		return c.refusal(err)
	}
	connection(ctx).Trust() // the last lines of a recovery are all there
	c.lines.of(ctx).Info("Received state disk key and measurement secret, shutting down server")
	c.won()
	return nil
}

// refusal says to the sender why its candidate did not count.
func (c *calls) refusal(err error) error {
	pause, mustPause := errors.AsType[pausing](err)
	switch {
	case mustPause:
		return tryAgain(time.Duration(pause), err.Error())
	case errors.Is(err, fairlistener.ErrBusy):
		return tryAgain(busyPause, fmt.Sprintf("%v for their keys to be proven: try again in some seconds", fairlistener.ErrBusy))
	case c.serving.Err() != nil && errors.Is(err, context.Canceled):
		return errStopped
	case errors.Is(err, keys.ErrWrongKey):
		return status.Errorf(codes.PermissionDenied, "%v %s", keys.ErrWrongKey, c.disk)
	case errors.Is(err, keys.ErrDecided):
		return status.Error(codes.FailedPrecondition, keys.ErrDecided.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	return status.Errorf(codes.Internal, "proving the key: %v", err)
}

// tryAgain tells a caller from others of this code, such as a message too large,
// by the hint that it carries: the candidate was not looked at.
func tryAgain(after time.Duration, why string) error {
	s, err := status.New(codes.ResourceExhausted, why).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	if err != nil { // cannot happen: the code is not OK
		return status.Error(codes.ResourceExhausted, why)
	}
	return s.Err()
}
