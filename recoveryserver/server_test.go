package recoveryserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/sshproof"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// The port is taken at first (G19): one line says so, and the node can be
// recovered once it is free.
func TestPortIsTaken(t *testing.T) {
	tries := 0
	n := startNode(t, (&stateDisk{}).prove, withTimes(func(times *times) { times.retry = time.Millisecond }), func(s *Server) {
		listen := s.listen
		s.listen = func(ctx context.Context, network, address string) (net.Listener, error) {
			if tries++; tries <= 3 {
				taken, err := listen(ctx, network, address)
				require.NoError(t, err)
				return net.Listen(network, taken.Addr().String())
			}
			return listen(ctx, network, address)
		}
	})
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
	n.mustEnd(t)
	assert.Equal(t, 4, tries)
	lines := n.logs.FilterMessage("Failed to serve recovery calls, trying again").All()
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0].ContextMap()["error"], "address already in use")
}

// A proof that is under way when the server stops has ended before Offer does.
func TestOfferWaitsForProofs(t *testing.T) {
	proving, ended := make(chan struct{}), make(chan struct{})
	n := startNode(t, func(ctx context.Context, _ keys.Pair) error {
		close(proving)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}, withTimes(func(times *times) { times.grace = 10 * time.Millisecond }))
	conn := n.dial(t)
	answered := make(chan error, 1)
	go func() { answered <- recoverStreaming(t.Context(), conn, vectorKey) }()
	<-proving
	n.end()
	n.mustEnd(t)
	select {
	case <-ended:
	default:
		t.Error("Offer has returned before the proof")
	}
	require.Error(t, <-answered)
}

func TestPauseBetweenTriesGrowsToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tried []time.Duration
		start := time.Now()
		s := New(":9999", quoting{}, sshproof.Keys{}, zap.NewNop())
		s.listen = func(context.Context, string, string) (net.Listener, error) {
			tried = append(tried, time.Since(start))
			return nil, errors.New("no network")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		require.NoError(t, s.Offer(ctx, keys.NewDiskID(), (&stateDisk{}).prove))
		assert.Equal(t, 100*time.Second, time.Since(start), "the wait ends with the context")
		assert.Equal(t, []time.Duration{0, 1e9, 3e9, 7e9, 15e9, 31e9, 61e9, 91e9}, tried)
	})
}

// G15: once a key has won, nobody else gets in, while calls drain.
func TestNoCallsDuringTheDrain(t *testing.T) {
	n := startNode(t, (&stateDisk{}).prove)
	beside := n.dial(t, other)
	holdCalls(t, beside, secretMessage(vectorSecret))
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
	require.Error(t, recoverStreaming(t.Context(), beside, vectorKey), "on a connection that was there")
	require.Error(t, recoverStreaming(t.Context(), n.dial(t), vectorKey), "on a new one")
	n.mustEnd(t)
	assert.Equal(t, 1, n.count(provenLine))
}

func TestAddressThatIsNone(t *testing.T) {
	err := New("9999", quoting{}, sshproof.Keys{}, zap.NewNop()).Offer(t.Context(), keys.NewDiskID(), (&stateDisk{}).prove)
	require.ErrorContains(t, err, "missing port in address")
}

func TestFailingListenerIsReplaced(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	s := New("127.0.0.1:0", quoting{}, sshproof.Keys{}, zap.New(core))
	s.times.retry = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	listened := 0
	s.listen = func(ctx context.Context, network, address string) (net.Listener, error) {
		if listened++; listened == 2 {
			cancel()
		}
		listener, err := net.Listen(network, address)
		return failing{listener}, err
	}
	require.NoError(t, s.Offer(ctx, keys.NewDiskID(), (&stateDisk{}).prove))
	assert.Equal(t, 2, listened)
	assert.Equal(t, 1, logs.FilterMessage("Failed to serve recovery calls, trying again").Len())
}

// failing is a listener that accepts nothing.
type failing struct{ net.Listener }

func (failing) Accept() (net.Conn, error) { return nil, errors.New("accept failed") }

// free are the members of a line that differ from run to run.
var free = map[string]bool{"ts": true, "caller": true, "grpc.start_time": true, "peer.address": true, "grpc.time_ms": true}

// What a recovery logs is what operators have been told to expect.
func TestLogOfARecovery(t *testing.T) {
	golden, err := os.ReadFile("testdata/boot-log.json")
	require.NoError(t, err)
	var log bytes.Buffer
	n := startNode(t, (&stateDisk{}).prove, func(s *Server) {
		s.log = zap.New(jsonCore(&log), zap.AddCaller()).Named("recoveryServer")
	})
	require.NoError(t, recoverStreaming(t.Context(), n.dial(t), vectorKey))
	n.mustEnd(t)
	want, got := lines(golden), lines(log.Bytes())
	require.Len(t, got, len(want))
	for i := range want {
		assert.Equal(t, members(t, want[i]), members(t, got[i]))
	}
	assert.NotContains(t, log.String(), "60616af9434ebe99", "no key is logged")
}

// Offer is told its logger's name by New.
func TestLoggerName(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	_ = New("nonsense", quoting{}, sshproof.Keys{}, zap.New(core)).Offer(t.Context(), keys.NewDiskID(), (&stateDisk{}).prove)
	assert.Equal(t, "recoveryServer", logs.All()[0].LoggerName)
}

func jsonCore(w *bytes.Buffer) zapcore.Core {
	return zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		LevelKey: "level", EncodeLevel: zapcore.CapitalLevelEncoder,
		TimeKey: "ts", EncodeTime: zapcore.RFC3339TimeEncoder,
		NameKey: "logger", CallerKey: "caller", EncodeCaller: zapcore.ShortCallerEncoder, MessageKey: "msg",
	}), zapcore.Lock(zapcore.AddSync(w)), zap.InfoLevel)
}

func lines(log []byte) []string { return strings.Split(strings.TrimSpace(string(log)), "\n") }

// members lists a line's members in their order, each with its value where
// that is part of the contract and its kind where it is not.
func members(t *testing.T, line string) []string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(line))
	var list []string
	for decoder.More() {
		name, err := decoder.Token()
		require.NoError(t, err)
		if name == json.Delim('{') {
			continue
		}
		var value any
		require.NoError(t, decoder.Decode(&value))
		if free[name.(string)] {
			value = kind(value)
		}
		raw, err := json.Marshal(value)
		require.NoError(t, err)
		list = append(list, name.(string)+": "+string(raw))
	}
	return list
}

func kind(value any) string {
	switch value := value.(type) {
	case float64:
		return "a number"
	case string:
		if _, err := time.Parse(time.RFC3339, value); err == nil {
			return "a time"
		}
	}
	return "text"
}
