package recoveryserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/faults"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/sshproof"
	"disk-mapper/proto/recoverproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func (n *node) target(t testing.TB) faults.Target {
	t.Helper()
	message, err := proto.Marshal(secretMessage(vectorSecret))
	require.NoError(t, err)
	return faults.Target{Address: n.address, Method: recoverproto.API_Recover_FullMethodName, Message: message}
}

// hold opens n connections of one kind from as many addresses as it takes.
// Those that the server turns away are as good.
func (n *node) hold(t testing.TB, silence faults.Silence, many int) {
	t.Helper()
	sources := faults.Sources((many + maxConnsPerPeer - 1) / maxConnsPerPeer)
	target := n.target(t)
	var opening sync.WaitGroup
	turns := make(chan struct{}, maxWaiting)
	for i := range many {
		turns <- struct{}{}
		opening.Go(func() {
			defer func() { <-turns }()
			if conn, err := silence.Hold(t.Context(), target, sources[i%len(sources)]); err == nil {
				t.Cleanup(func() { _ = conn.Close() })
			}
		})
	}
	opening.Wait()
}

// G1 to G5 from one address and from many: the operator gets in, the key ends the
// wait, and nothing is left.
func TestSilences(t *testing.T) {
	for _, silence := range faults.Silences {
		t.Run(silence.Name, func(t *testing.T) {
			n := startNode(t, (&stateDisk{}).prove)
			n.hold(t, silence, maxConns+2*maxConnsPerPeer)
			require.NotZero(t, n.server.Counts()["openConnections"])
			require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
			n.mustEnd(t)
			assert.Zero(t, n.server.Counts()["openConnections"])
		})
	}
}

// G9 to G12: the operator gets in beside the abuse.
func TestAbuses(t *testing.T) {
	for _, abuse := range faults.Abuses {
		t.Run(abuse.Name, func(t *testing.T) {
			n := startNode(t, (&stateDisk{}).prove)
			conn, err := abuse.Commit(t.Context(), n.target(t), other)
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
			n.mustEnd(t)
		})
	}
}

// serial is a TPM: it serves whoever comes first, one at a time.
type serial struct {
	quoting
	turn   chan struct{}
	took   time.Duration
	quotes *atomic.Int64
}

func newSerial(took time.Duration) serial {
	return serial{turn: make(chan struct{}, 1), took: took, quotes: new(atomic.Int64)}
}

func (s serial) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.quotes.Add(1)
	time.Sleep(s.took)
	return s.quoting.Issue(ctx, userData, nonce)
}

// G18: the rejoin client, at the same TPM, waits for no more than one stranger.
func TestRejoinHasALaneOfItsOwn(t *testing.T) {
	tpm := newSerial(50 * time.Millisecond)
	n := startNode(t, (&stateDisk{}).prove, withIssuer(tpm))
	ctx, end := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	t.Cleanup(flood.Wait)
	t.Cleanup(end)
	flood.Go(func() {
		faults.Flood{Target: n.target(t), Silence: faults.Silences[2], Sources: faults.Sources(maxWaiting + 4), Rate: 60, Open: 60}.Run(ctx)
	})
	require.Eventually(t, func() bool { return n.server.Counts()["refusedConnections"] > 0 }, 5*time.Second, time.Millisecond, "the queue is full")
	for range 10 {
		before := tpm.quotes.Load()
		tpm.turn <- struct{}{}
		assert.LessOrEqual(t, tpm.quotes.Load()-before, int64(1), "strangers' quotes that the rejoin client waited for")
		<-tpm.turn
	}
	require.Eventually(t, func() bool {
		conn := n.dial(t)
		defer conn.Close()
		return recoverStreaming(t.Context(), conn, vectorKey) == nil
	}, 10*time.Second, time.Millisecond, "the operator gets in once each of the flood has had its turn, at the latest")
}

// Lines about strangers are rationed, and the rest is summed up. Another network's
// own lines are there all the same, and all those of the call that ends the wait.
func TestLinesAboutStrangersAreRationed(t *testing.T) {
	const many = 60
	n := startNode(t, (&stateDisk{}).prove, withoutPauses)
	conn := n.dial(t, other)
	for range many {
		require.Error(t, recoverStreaming(t.Context(), conn, wrongKey))
	}
	assert.LessOrEqual(t, n.logs.Len(), 20, "of three lines for each")
	operator := n.dial(t)
	require.Equal(t, codes.PermissionDenied, status.Code(recoverStreaming(t.Context(), operator, wrongKey)))
	require.NoError(t, recoverStreaming(t.Context(), operator, vectorKey))
	n.mustEnd(t)
	assert.Equal(t, 1, n.count(provenLine))
	assert.Equal(t, 1, n.count("finished streaming call with code OK"))
	own := 0
	for _, line := range n.logs.FilterMessage(refusedLine).All() {
		if strings.HasPrefix(line.ContextMap()["peer.address"].(string), "127.0.0.1:") {
			own++
		}
	}
	assert.Equal(t, 1, own, "the operator's own refusal")
	var leftOut int64
	for _, line := range n.logs.FilterMessage("Left out lines about callers").All() {
		leftOut += line.ContextMap()["lines"].(int64)
	}
	assert.GreaterOrEqual(t, leftOut, int64(2*many))
}

// An operator who proves it is not rationed, whoever floods the log, from whatever
// address.
func TestLinesOfNamedOperatorsAreAllThere(t *testing.T) {
	key, operators := newOperator(t)
	n := startNode(t, (&stateDisk{}).prove, withoutPauses, func(s *Server) { s.operators = operators })
	stranger := n.dial(t)
	for range 60 {
		require.Equal(t, codes.Unauthenticated, status.Code(recoverStreaming(t.Context(), stranger, wrongKey)))
	}
	operator := n.dialAs(t, key)
	for range 3 {
		require.Equal(t, codes.PermissionDenied, status.Code(recoverStreaming(t.Context(), operator, wrongKey)))
	}
	assert.Equal(t, 3, n.count(refusedLine))
	assert.Equal(t, 3, n.count("finished streaming call with code PermissionDenied"))
}

func TestCountsBeforeOffer(t *testing.T) {
	want := map[string]int{"openConnections": 0, "recoverCalls": 0, "refusedConnections": 0}
	assert.Equal(t, want, new(Server).Counts())
	n := startNode(t, (&stateDisk{}).prove)
	conn := n.connect(t)
	assert.Eventually(t, func() bool { return n.server.Counts()["openConnections"] == 1 }, 5*time.Second, time.Millisecond)
	require.NoError(t, conn.(*net.TCPConn).Close())
	assert.Eventually(t, func() bool { return n.server.Counts()["openConnections"] == 0 }, 5*time.Second, time.Millisecond)
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// TestServeForBenchmarks is the process that BenchmarkMemory measures.
func TestServeForBenchmarks(t *testing.T) {
	address := os.Getenv("SERVE")
	if address == "" {
		t.Skip("for BenchmarkMemory")
	}
	server := New(address, newSerial(time.Millisecond), sshproof.Keys{}, zap.NewNop())
	require.NoError(t, server.Offer(t.Context(), keys.NewDiskID(), (&stateDisk{}).prove))
}

// TestFloodForBenchmarks is the other process of BenchmarkRecoverUnderFlood.
func TestFloodForBenchmarks(t *testing.T) {
	order := os.Getenv("FLOOD_ORDER")
	if order == "" {
		t.Skip("for BenchmarkRecoverUnderFlood")
	}
	var f flooding
	require.NoError(t, json.Unmarshal([]byte(order), &f))
	ctx, end := context.WithTimeout(t.Context(), f.Length)
	defer end()
	flood := faults.Flood{Target: f.Target, Silence: faults.Silences[f.Silence], Sources: faults.Sources(f.Addresses), Rate: f.Rate, Open: f.Open}
	tried, _ := flood.Run(ctx)
	fmt.Println("tried:", tried)
}
