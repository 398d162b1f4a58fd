package rejoinclient

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// What operators search for, as they have been told.
func TestTextsForDeadPeers(t *testing.T) {
	for name, tt := range map[string]struct {
		endpoint string
		connect  time.Duration
		text     string
	}{
		"refused":    {refusing(t), time.Hour, `: connect: connection refused"`},
		"black hole": {blackHole(t), 100 * time.Millisecond, `: i/o timeout"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := offer(t, static{tt.endpoint}, (&stateDisk{}).prove, func(c *Client) { c.times.connect = tt.connect })
			r.awaitLine(t, "Failed to rejoin on all endpoints")
			text := `rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp ` + tt.endpoint + tt.text
			assert.True(t, contains(r.errorsOf(tt.endpoint), text), r.errorsOf(tt.endpoint))
		})
	}
}

// The log of an unhealthy control plane is what operators have been told to
// expect.
func TestLogOfAnUnhealthyControlPlane(t *testing.T) {
	golden, err := os.ReadFile("testdata/boot-log.json")
	require.NoError(t, err)
	var log safeBuffer
	r := offer(t, static{blackHole(t)}, (&stateDisk{}).prove, func(c *Client) {
		c.times.connect, c.times.pause = 50*time.Millisecond, time.Hour
		observed := c.log.Core()
		c.log = zap.New(zapcore.NewTee(observed, jsonCore(&log)), zap.AddCaller())
	})
	r.awaitLine(t, "Failed to rejoin on all endpoints")
	r.cancel()
	r.mustEnd(t)
	want, got := strings.Split(strings.TrimSpace(string(golden)), "\n"), strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, got, len(want))
	for i := range want {
		assert.Equal(t, members(t, want[i]), members(t, got[i]))
	}
}

func TestLoggerName(t *testing.T) {
	r := offer(t, static{}, (&stateDisk{}).prove)
	r.awaitLine(t, "Starting RejoinClient")
	assert.Equal(t, "rejoinClient", r.logs.All()[0].LoggerName)
}

// safeBuffer can be read while the client still logs.
type safeBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func jsonCore(w *safeBuffer) zapcore.Core {
	return zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		LevelKey: "level", EncodeLevel: zapcore.CapitalLevelEncoder,
		TimeKey: "ts", EncodeTime: zapcore.RFC3339TimeEncoder,
		NameKey: "logger", CallerKey: "caller", EncodeCaller: zapcore.ShortCallerEncoder, MessageKey: "msg",
	}), zapcore.AddSync(w), zap.InfoLevel)
}

// members lists a line's members in their order, with their values where those
// are part of the contract.
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
		switch name {
		case "level", "logger", "msg":
			list = append(list, name.(string)+": "+value.(string))
		default:
			list = append(list, name.(string))
		}
	}
	return list
}
