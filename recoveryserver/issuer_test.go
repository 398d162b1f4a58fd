package recoveryserver

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

const slowly = time.Second + time.Millisecond

// slow is an issuer that takes its time.
type slow struct{ quoting }

func (s slow) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	time.Sleep(slowly)
	return s.quoting.Issue(ctx, userData, nonce)
}

// come makes a connection from one of many addresses.
func come(l *cappedListener, host byte) (*cappedConn, *quiet) {
	raw := &quiet{peer: &net.TCPAddr{IP: net.IPv4(192, 0, 2, host)}}
	conn := l.admit(raw)
	if conn != nil {
		conn.makeRoom()
	}
	return conn, raw
}

// G18: strangers' handshakes leave the TPM to others in between, and no more of
// them wait than have a chance.
func TestQuotesAreMadeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := &cappedListener{counts: new(counts)}
		desk := &desk{issuer: slow{}, serving: t.Context(), log: zap.NewNop()}
		var mu sync.Mutex
		var took []time.Duration
		refused := 0
		start := time.Now()
		var handshakes sync.WaitGroup
		for i := range 3 * maxWaiting {
			conn, _ := come(listener, byte(i))
			handshakes.Go(func() {
				_, err := customer{desk, conn}.Issue(t.Context(), []byte("key"), []byte("nonce"))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					took = append(took, time.Since(start))
					return
				}
				refused++
			})
		}
		handshakes.Wait()
		assert.Len(t, took, int(handshakeTime/time.Second), "nobody's connection is worth waiting for longer")
		for i, d := range took {
			assert.Equal(t, time.Duration(i+1)*slowly, d)
		}
		assert.Equal(t, 3*maxWaiting-len(took), refused)
		assert.EqualValues(t, 3*maxWaiting-1-maxWaiting, listener.counts.refused.Load(), "at once, for want of a place")
	})
}

func TestHandshakeThatIsGivenUpLeavesTheQueue(t *testing.T) {
	listener := &cappedListener{counts: new(counts)}
	desk := &desk{issuer: quoting{}, serving: t.Context(), log: zap.NewNop()}
	require.NoError(t, desk.queue.enter(t.Context(), network(&net.TCPAddr{})))
	conn, _ := come(listener, 1)
	ended := make(chan error, 1)
	go func() { _, err := customer{desk, conn}.Issue(t.Context(), nil, nil); ended <- err }()
	require.NoError(t, conn.Close())
	require.ErrorIs(t, <-ended, context.Canceled)
	desk.queue.leave()
	require.NoError(t, desk.queue.enter(t.Context(), conn.peer), "the turn is not lost")
}
