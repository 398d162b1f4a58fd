package recoveryserver

import (
	"time"

	"disk-mapper/proto/recoverproto"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errStopped = status.Error(codes.Unavailable, "the node has stopped waiting for its key")

type received struct {
	message *recoverproto.RecoverMessage
	err     error
}

// receive waits for one message, for as long as c.wait and only while the
// server serves. Its error is the status for the caller.
//
// gRPC gives a handler no way to stop waiting, so a goroutine waits instead. It
// ends with the call, and serve waits for it.
func (c *calls) receive(stream recoverStream) (*recoverproto.RecoverMessage, error) {
	arrived := make(chan received, 1)
	c.receiving.Go(func() {
		message, err := stream.Recv()
		arrived <- received{message, err}
	})
	select {
	case next := <-arrived:
		connection(stream.Context()).Progress()
		return next.message, receiveStatus(next.err)
	case <-time.After(c.wait):
		return nil, status.Errorf(codes.DeadlineExceeded, "no message within %s", c.wait)
	case <-c.serving.Done():
		return nil, errStopped
	}
}

func receiveStatus(err error) error {
	if err == nil || status.Code(err) == codes.ResourceExhausted {
		return err
	}
	return status.Error(codes.Internal, "failed to receive message")
}
