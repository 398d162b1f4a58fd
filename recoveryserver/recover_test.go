package recoveryserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/recoverproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	provenLine  = "Received state disk key and measurement secret, shutting down server"
	refusedLine = "Refused recovery key"
)

// forms are the ways in which published clients call.
var forms = map[string]func(ctx context.Context, conn *grpc.ClientConn) error{
	"streaming": func(ctx context.Context, conn *grpc.ClientConn) error {
		return recoverStreaming(ctx, conn, vectorKey)
	},
	"unary": func(ctx context.Context, conn *grpc.ClientConn) error {
		return recoverUnary(ctx, conn, vectorURI)
	},
	"unary, values escaped once more": func(ctx context.Context, conn *grpc.ClientConn) error {
		once := strings.ReplaceAll(vectorURI, "=&", url.QueryEscape("=")+"&")
		return recoverUnary(ctx, conn, strings.ReplaceAll(once, "%", "%25"))
	},
}

func TestRecover(t *testing.T) {
	for name, call := range forms {
		t.Run(name, func(t *testing.T) {
			var disk stateDisk
			n := startNode(t, disk.prove)
			require.NoError(t, call(t.Context(), n.dial(t)))
			n.mustEnd(t)
			assert.Equal(t, [][]byte{vectorKey, vectorSecret}, disk.won)
			assert.Equal(t, 1, n.count(provenLine))
		})
	}
}

// Setup ends all sources from within the winner's Prove.
func TestWinnerIsAnsweredThoughTheContextEnds(t *testing.T) {
	for name, call := range forms {
		t.Run(name, func(t *testing.T) {
			var n *node
			ready := make(chan struct{})
			n = startNode(t, func(context.Context, keys.Pair) error {
				<-ready
				n.end()
				return nil
			})
			close(ready)
			require.NoError(t, call(t.Context(), n.dial(t)))
			n.mustEnd(t)
			assert.Equal(t, 1, n.count(provenLine))
			assert.Equal(t, 1, n.count("finished streaming call with code OK"))
		})
	}
}

// G6 to G9: each has its code, and the server goes on.
func TestRefusedMessages(t *testing.T) {
	long := bytes.Repeat([]byte{1}, 4096)
	type messages = []*recoverproto.RecoverMessage
	tests := map[string]struct {
		messages messages
		wantCode codes.Code
		wantText string
	}{
		"key first":         {messages{keyMessage(vectorKey)}, codes.InvalidArgument, "first message is not a measurement secret"},
		"empty message":     {messages{{}}, codes.InvalidArgument, "first message is not a measurement secret"},
		"storage URI alone": {messages{{StorageUri: "storage://no-store"}}, codes.InvalidArgument, "first message is not a measurement secret"},
		"secret twice":      {messages{secretMessage(vectorSecret), secretMessage(vectorSecret)}, codes.InvalidArgument, "second message is not a state disk key"},
		"secret, then URI":  {messages{secretMessage(vectorSecret), uriMessage(vectorURI)}, codes.InvalidArgument, "second message is not a state disk key"},
		"secret, then none": {messages{secretMessage(vectorSecret), {}}, codes.InvalidArgument, "second message is not a state disk key"},
		"secret of 0":       {messages{secretMessage(nil)}, codes.InvalidArgument, "measurement secret: wrong length: 0 bytes"},
		"secret of 1":       {messages{secretMessage(long[:1])}, codes.InvalidArgument, "measurement secret: wrong length: 1 bytes"},
		"secret of 31":      {messages{secretMessage(long[:31])}, codes.InvalidArgument, "measurement secret: wrong length: 31 bytes"},
		"secret of 33":      {messages{secretMessage(long[:33])}, codes.InvalidArgument, "measurement secret: wrong length: 33 bytes"},
		"secret of 4096":    {messages{secretMessage(long)}, codes.InvalidArgument, "measurement secret: wrong length: 4096 bytes"},
		"key of 0":          {messages{secretMessage(vectorSecret), keyMessage(nil)}, codes.InvalidArgument, "state disk key: wrong length: 0 bytes"},
		"key of 1":          {messages{secretMessage(vectorSecret), keyMessage(long[:1])}, codes.InvalidArgument, "state disk key: wrong length: 1 bytes"},
		"key of 31":         {messages{secretMessage(vectorSecret), keyMessage(long[:31])}, codes.InvalidArgument, "state disk key: wrong length: 31 bytes"},
		"key of 33":         {messages{secretMessage(vectorSecret), keyMessage(long[:33])}, codes.InvalidArgument, "state disk key: wrong length: 33 bytes"},
		"key of 4096":       {messages{secretMessage(vectorSecret), keyMessage(long)}, codes.InvalidArgument, "state disk key: wrong length: 4096 bytes"},
		"wrong key":         {messages{secretMessage(vectorSecret), keyMessage(wrongKey)}, codes.PermissionDenied, "the key does not open the state disk " + vectorUUID},
		"too long":          {messages{secretMessage(make([]byte, maxMessage+1))}, codes.ResourceExhausted, "larger than max"},
		"second too long":   {messages{secretMessage(vectorSecret), keyMessage(make([]byte, maxMessage+1))}, codes.ResourceExhausted, "larger than max"},
		"4 MiB":             {messages{secretMessage(make([]byte, 4<<20))}, codes.ResourceExhausted, "larger than max"},
		"other key service": {messages{uriMessage("kms://aws?keyPolicy=x&kmsKeyID=y")}, codes.InvalidArgument, "creating kms client: only kms://cluster-kms"},
		"URI without salt":  {messages{uriMessage(strings.Split(vectorURI, "&")[0])}, codes.InvalidArgument, `creating kms client: missing query parameter "salt"`},
		"wrong master":      {messages{uriMessage(strings.Replace(vectorURI, "AAEC", "BBEC", 1))}, codes.PermissionDenied, "the key does not open the state disk " + vectorUUID},
	}
	var disk stateDisk
	n := startNode(t, disk.prove, withoutPauses)
	conn := n.dial(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := converse(t.Context(), conn, tc.messages...)
			assert.Equal(t, tc.wantCode, status.Code(err), "%v", err)
			assert.ErrorContains(t, err, tc.wantText)
		})
	}
	require.Empty(t, disk.won)
	require.NoError(t, recoverStreaming(t.Context(), conn, vectorKey), "the server stays")
	n.mustEnd(t)
	assert.Equal(t, [][]byte{vectorKey, vectorSecret}, disk.won)
}

func TestClientThatHangsUpEarly(t *testing.T) {
	var disk stateDisk
	n := startNode(t, disk.prove)
	conn := n.dial(t)
	stream, err := recoverproto.NewAPIClient(conn).Recover(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	assert.Equal(t, codes.Internal, status.Code(err))
	assert.ErrorContains(t, err, "failed to receive message")
	require.NoError(t, recoverStreaming(t.Context(), conn, vectorKey))
}

func TestManyWrongKeysThenTheRightOne(t *testing.T) {
	var disk stateDisk
	n := startNode(t, disk.prove, withoutPauses)
	conn := n.dial(t)
	for range 100 {
		require.Equal(t, codes.PermissionDenied, status.Code(recoverStreaming(t.Context(), conn, wrongKey)))
	}
	require.NoError(t, recoverStreaming(t.Context(), conn, vectorKey))
	n.mustEnd(t)
}

// After a wrong key its network has to pause, and no other.
func TestWrongKeysArePaidForWithAPause(t *testing.T) {
	var disk stateDisk
	n := startNode(t, disk.prove, withTimes(func(times *times) { times.pause, times.maxPause = time.Hour, time.Hour }))
	require.Equal(t, codes.PermissionDenied, status.Code(recoverStreaming(t.Context(), n.dial(t, other), wrongKey)))
	err := recoverStreaming(t.Context(), n.dial(t, other), vectorKey)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.ErrorContains(t, err, "after wrong keys from this address: try again in 1h0m0s")
	require.Empty(t, disk.won, "not even tried")
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
}

func TestRefusedKeyIsLoggedWithPeerAndReason(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	require.Error(t, recoverStreaming(t.Context(), n.dial(t), wrongKey))
	lines := n.logs.FilterMessage(refusedLine).All()
	require.Len(t, lines, 1)
	assert.Equal(t, "WARN", lines[0].Level.CapitalString())
	fields := lines[0].ContextMap()
	assert.Contains(t, fields["peer.address"], "127.0.0.1:")
	assert.Equal(t, keys.ErrWrongKey.Error(), fields["error"])
}

// G15: a call that comes when the node has its key is told so.
func TestProveFailures(t *testing.T) {
	tests := map[string]struct {
		err      error
		wantCode codes.Code
		wantText string
	}{
		"too late":        {keys.ErrDecided, codes.FailedPrecondition, "already got its key"},
		"disk fails":      {errors.New("reading the header: input/output error"), codes.Internal, "proving the key: reading the header"},
		"node gave up":    {context.Canceled, codes.Canceled, "canceled"},
		"proof timed out": {context.DeadlineExceeded, codes.DeadlineExceeded, "deadline"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, func(context.Context, keys.Pair) error { return tc.err })
			err := recoverStreaming(t.Context(), n.dial(t), vectorKey)
			assert.Equal(t, tc.wantCode, status.Code(err))
			assert.ErrorContains(t, err, tc.wantText)
			assert.Zero(t, n.count(provenLine))
		})
	}
}

// Whatever the order, the good key is the one that is kept (G14).
func TestGoodAndWrongKeyInFlight(t *testing.T) {
	for range 20 {
		t.Run("round", func(t *testing.T) {
			var disk stateDisk
			n := startNode(t, disk.prove, withoutPauses)
			conn := n.dial(t)
			var wrong sync.WaitGroup
			wrong.Go(func() { assert.Error(t, recoverStreaming(t.Context(), conn, wrongKey)) })
			require.NoError(t, recoverStreaming(t.Context(), conn, vectorKey))
			wrong.Wait()
			n.mustEnd(t)
			require.Equal(t, [][]byte{vectorKey, vectorSecret}, disk.won)
		})
	}
}

func TestCandidateIsWiped(t *testing.T) {
	for name, call := range forms {
		t.Run(name, func(t *testing.T) {
			var candidate keys.Pair
			n := startNode(t, func(_ context.Context, pair keys.Pair) error { candidate = pair; return nil })
			require.NoError(t, call(t.Context(), n.dial(t)))
			n.mustEnd(t)
			assert.Equal(t, make([]byte, keys.Size), candidate.Disk.Bytes())
			assert.Equal(t, make([]byte, keys.Size), candidate.Measurement.Bytes())
		})
	}
}

func TestSilentCallEndsByItself(t *testing.T) {
	tests := map[string][]*recoverproto.RecoverMessage{
		"no message":        nil,
		"no second message": {secretMessage(vectorSecret)},
	}
	for name, messages := range tests {
		t.Run(name, func(t *testing.T) {
			for limit := 20 * time.Millisecond; ; limit *= 2 { // until the first message of this machine is in time
				n := startNode(t, (&stateDisk{}).prove, withTimes(func(times *times) { times.message = limit }))
				answered, err := silentAfter(t, n, messages)
				assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
				assert.ErrorContains(t, err, fmt.Sprintf("no message within %v", limit))
				if answered == len(messages) {
					return
				}
				require.Less(t, limit, time.Minute)
			}
		})
	}
}

// silentAfter sends messages, each after the answer to the one before, and then none.
func silentAfter(t *testing.T, n *node, messages []*recoverproto.RecoverMessage) (answered int, err error) {
	t.Helper()
	stream, err := recoverproto.NewAPIClient(n.dial(t)).Recover(t.Context())
	require.NoError(t, err)
	for _, message := range messages {
		_ = stream.Send(message) // what is wrong, Recv says
		if _, err := stream.Recv(); err != nil {
			return answered, err
		}
		answered++
	}
	_, err = stream.Recv()
	return answered, err
}

// G10
func TestLongHeadersAreRefused(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	conn := n.dial(t)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", 2*fairlistener.MaxHeaders))
	require.Error(t, recoverStreaming(ctx, conn, vectorKey))
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
}
