package recoveryserver

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/recoverproto"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// recorded is a call whose peer has said all it has to say.
type recorded struct {
	grpc.ServerStream
	ctx      context.Context
	messages [][]byte
	answers  int
}

func (r *recorded) Context() context.Context { return r.ctx }

func (r *recorded) RecvMsg(into any) error {
	if len(r.messages) == 0 {
		return io.EOF
	}
	raw := r.messages[0]
	r.messages = r.messages[1:]
	if err := proto.Unmarshal(raw, into.(proto.Message)); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

func (r *recorded) SendMsg(any) error { r.answers++; return nil }

// FuzzRecover: whatever two messages are sent, the handler answers, and only the
// right key wins, with the secret that came before it.
func FuzzRecover(f *testing.F) {
	encode := func(m *recoverproto.RecoverMessage) []byte {
		raw, err := proto.Marshal(m)
		require.NoError(f, err)
		return raw
	}
	for _, first := range [][]byte{nil, encode(secretMessage(vectorSecret)), encode(uriMessage(vectorURI)), encode(keyMessage(vectorKey)), {0xff}} {
		for _, second := range [][]byte{nil, encode(keyMessage(vectorKey)), encode(keyMessage(wrongKey)), append(encode(keyMessage(wrongKey)), encode(keyMessage(vectorKey))...)} {
			f.Add(first, second)
		}
	}
	id, err := keys.ParseDiskID(vectorUUID)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var disk stateDisk
		won := 0
		c := &calls{
			disk: id, lines: &callerLines{log: zap.NewNop()}, calls: new(atomic.Int64), serving: t.Context(), wait: time.Minute, won: func() { won++ },
			proofs: newProofs(t.Context(), disk.prove, production),
		}
		defer c.proofs.end()
		conn := callers(t, 1)[0]
		ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: conn.RemoteAddr(), AuthInfo: fairlistener.AuthInfo{Conn: conn}})
		err := c.Recover(&grpc.GenericServerStream[recoverproto.RecoverMessage, recoverproto.RecoverResponse]{
			ServerStream: &recorded{ctx: ctx, messages: [][]byte{first, second}},
		})
		c.receiving.Wait()
		require.Equal(t, err == nil, won == 1)
		require.Equal(t, err == nil, disk.won != nil)
		if err != nil {
			require.NotEqual(t, codes.Unknown, status.Code(err), "every refusal has a code of its own: %v", err)
		}
	})
}
