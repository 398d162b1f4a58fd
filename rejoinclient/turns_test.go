package rejoinclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oneAtATime is a TPM with a line of its own.
type oneAtATime struct {
	quoting
	turn chan struct{} // not a mutex, which stops the clock of a bubble
	took time.Duration
}

func (o *oneAtATime) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	o.turn <- struct{}{}
	defer func() { <-o.turn }()
	time.Sleep(o.took)
	return o.quoting.Issue(ctx, userData, nonce)
}

// tries plays an attempt's part in the line: it connects anew when it was late.
// It returns what it would have told the peer.
func tries(t *testing.T, turns *turns, tpm attestation.Issuer, p *place) error {
	for {
		self := &issuer{Issuer: tpm, turns: turns, place: p}
		ctx, patience := newPatience(t.Context(), turns.times.answer)
		self.patience = patience
		_, err := self.Issue(ctx, nil, nil)
		if err == nil {
			err = context.Cause(ctx) // a peer that answers at once is in time
		}
		self.pass(err != nil)
		patience.end()
		if !self.wasLate() {
			return err
		}
	}
}

// TestTimeStandsStillInLine: with the TPM taking this long, the last of 256 has to
// wait for longer than any peer may take to answer, and gets its quote all the same.
func TestTimeStandsStillInLine(t *testing.T) {
	for _, took := range []time.Duration{12, 50, 100, 200, 1000} {
		took *= time.Millisecond
		t.Run(fmt.Sprint(took), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				line, tpm, start := &turns{times: production}, &oneAtATime{turn: make(chan struct{}, 1), took: took}, time.Now()
				results := make(chan error, maxEndpoints)
				for range maxEndpoints {
					go func() { results <- tries(t, line, tpm, &place{}) }()
				}
				for range maxEndpoints {
					assert.NoError(t, <-results)
				}
				assert.LessOrEqual(t, time.Since(start), maxEndpoints*took*3/2)
				assert.Zero(t, line.talking)
				assert.Empty(t, line.waiting)
			})
		})
	}
}

// TestWhoTookQuotesInVainStandsBehind: and among equals, whoever asked first, though
// it had to connect anew.
func TestWhoTookQuotesInVainStandsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line, tpm := &turns{times: production}, &oneAtATime{turn: make(chan struct{}, 1), took: 4 * time.Second} // longer than inLine
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		enter := func(number, inVain int) {
			all.Go(func() {
				assert.NoError(t, tries(t, line, tpm, &place{inVain: inVain}))
				mu.Lock()
				defer mu.Unlock()
				order = append(order, number)
			})
			time.Sleep(10 * time.Millisecond)
		}
		for i := range maxTalking {
			enter(i, 9) // whose turn it is keeps it
		}
		enter(102, 2)
		enter(101, 1)
		enter(110, 1)
		enter(100, 0)
		enter(112, 2)
		time.Sleep(line.times.inLine + time.Second)
		enter(120, 0)
		enter(121, 1)
		all.Wait()
		assert.Equal(t, []int{100, 120, 101, 110, 121, 102, 112}, slices.DeleteFunc(order, func(n int) bool { return n < maxTalking }))
	})
}

// TestLineIsLeft: an attempt that is cancelled takes nobody's turn with it.
func TestLineIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &turns{times: production}
		ctx, cancel := context.WithCancelCause(t.Context())
		for range maxTalking {
			require.NoError(t, line.enter(ctx, &place{}))
		}
		results := make(chan error, 1)
		go func() { results <- line.enter(ctx, &place{}) }()
		synctest.Wait()
		cancel(errors.ErrUnsupported)
		assert.ErrorIs(t, <-results, errors.ErrUnsupported)
		for range maxTalking {
			line.leave(false)
		}
		for range maxTalking {
			require.NoError(t, line.enter(t.Context(), &place{}))
		}
		assert.Equal(t, maxTalking, line.talking)
	})
}

// TestTimeStandsStillWhileAnEndpointIsJudged: whoever has to be asked about it.
func TestTimeStandsStillWhileAnEndpointIsJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, p := newPatience(t.Context(), time.Second)
		defer p.end()
		refusal := errors.New("refused")
		require.ErrorIs(t, p.judging(from{})(ctx, func(ctx context.Context) error {
			time.Sleep(time.Hour)
			assert.NoError(t, ctx.Err())
			return refusal
		}), refusal)
		time.Sleep(time.Second)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(ctx), errUnanswered, "and goes on then")
	})
}

// from is a connection with an endpoint.
type from struct{ net.Conn }

func (from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9000} }

// TestPatienceEnds: a peer that has had its turn has its time, no more.
func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, p := newPatience(t.Context(), time.Second)
		defer p.end()
		p.rest()
		time.Sleep(time.Hour)
		require.NoError(t, ctx.Err())
		p.begin()
		time.Sleep(time.Second - 1)
		synctest.Wait()
		require.NoError(t, ctx.Err())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(ctx), errUnanswered)
	})
}
