package rejoinclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// many are n endpoints of their own, of loopback addresses with the port of the
// one that listens on all of them, or on none.
func many(t testing.TB, n int, endpoint string) static {
	t.Helper()
	port := portOf(t, endpoint)
	all := make(static, n)
	for i := range all {
		all[i] = fmt.Sprintf("127.0.1.%d:%s", i+1, port)
	}
	return all
}

// slowIssuer takes its time, and counts how many wait for it.
type slowIssuer struct {
	quoting
	proceed   chan struct{}
	now, most atomic.Int32
}

func (s *slowIssuer) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	now := s.now.Add(1)
	defer s.now.Add(-1)
	s.most.Store(max(s.most.Load(), now))
	select {
	case <-s.proceed:
	case <-ctx.Done():
	}
	return s.quoting.Issue(ctx, userData, nonce)
}

func TestAtMostEightAttestAtATime(t *testing.T) {
	endpoints := many(t, 3*maxTalking, joinService{rejoin: ticket(goodKey, goodSecret)}.startOn(t, "0.0.0.0:0"))
	issuer := &slowIssuer{proceed: make(chan struct{})}
	var disk stateDisk
	r := offer(t, endpoints, disk.prove, func(c *Client) { c.issuer = issuer })
	require.Eventually(t, func() bool { return issuer.now.Load() == maxTalking }, 10*time.Second, time.Millisecond)
	close(issuer.proceed)
	r.mustEnd(t)
	disk.assertWon(t)
	assert.EqualValues(t, maxTalking, issuer.most.Load())
}

// Endpoints that take a call and never answer it give up their turn, not their
// chance.
func TestSilentOnesGiveUpTheirTurn(t *testing.T) {
	asked, gone := make(chan struct{}, 100), make(chan struct{}, 100)
	endpoints := many(t, 4*maxTalking, joinService{rejoin: silent(asked, gone)}.startOn(t, "0.0.0.0:0"))
	good := late{static{service(t, ticket(goodKey, goodSecret))}, asked}
	var disk stateDisk
	start := time.Now()
	r := offer(t, endpoints, disk.prove, func(c *Client) { c.sources = append(c.sources, good) })
	r.mustEnd(t)
	disk.assertWon(t)
	assert.Less(t, time.Since(start), production.answer)
}

// late knows its endpoints once all turns are taken by those that stay silent.
type late struct {
	static
	asked <-chan struct{}
}

func (l late) JoinEndpoints(ctx context.Context) ([]string, error) {
	for range maxTalking {
		select {
		case <-l.asked:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return l.static.JoinEndpoints(ctx)
}

// Every kind of dead endpoint, 200 of them before the good one.
func TestGoodEndpointAtTheEndOfALongList(t *testing.T) {
	for name, dead := range map[string]string{
		"refusing": refusing(t), "black holes": blackHoleOn(t, [4]byte{}), "mute": muteOn(t, "0.0.0.0:0", make(chan struct{}, 1000)),
	} {
		t.Run(name, func(t *testing.T) {
			endpoints := append(many(t, 200, dead), service(t, ticket(goodKey, goodSecret)))
			var disk stateDisk
			start := time.Now()
			offer(t, endpoints, disk.prove).mustEnd(t)
			disk.assertWon(t)
			assert.Less(t, time.Since(start), production.answer) // each that is mute takes that
		})
	}
}

// changing hands out its lists in turn, then the last for ever.
type changing struct {
	lists [][]string
	err   error
	asked []time.Duration
	start time.Time
}

func (c *changing) JoinEndpoints(context.Context) ([]string, error) {
	c.asked = append(c.asked, time.Since(c.start))
	if len(c.lists) == 0 {
		return nil, c.err
	}
	next := c.lists[0]
	c.lists = c.lists[1:]
	return next, nil
}

func TestListIsFetchedAnew(t *testing.T) {
	var disk stateDisk
	endpoints := &changing{lists: [][]string{{refusing(t)}, {}, {service(t, ticket(goodKey, goodSecret))}}, err: errors.New("down")}
	r := offer(t, endpoints, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
	assert.GreaterOrEqual(t, len(endpoints.asked), 3)
}

// hanging never says anything.
type hanging struct{}

func (hanging) JoinEndpoints(ctx context.Context) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// One source that fails, hangs or lies holds up no other.
func TestEachSourceFailsAlone(t *testing.T) {
	good := static{service(t, ticket(goodKey, goodSecret))}
	for name, bad := range map[string]Endpoints{
		"fails": &changing{err: errors.New("down")}, "hangs": hanging{}, "is empty": static{},
		"lies": static(append(many(t, maxEndpoints-2, refusing(t)), refusing(t))),
	} {
		for order, sources := range map[string][]Endpoints{"bad first": {bad, good}, "good first": {good, bad}} {
			t.Run(name+", "+order, func(t *testing.T) {
				var disk stateDisk
				start := time.Now()
				r := offer(t, bad, disk.prove, func(c *Client) { c.sources, c.times.pause, c.times.maxPause = sources, time.Hour, time.Hour })
				r.mustEnd(t)
				disk.assertWon(t)
				assert.Less(t, time.Since(start), production.answer)
			})
		}
	}
}

// A metadata service that goes away takes no endpoint with it.
func TestEndpointsOutliveTheirSource(t *testing.T) {
	var disk stateDisk
	var calls atomic.Int32
	busy := func(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		if calls.Add(1) < 4 {
			return nil, errors.New("not yet")
		}
		return ticket(goodKey, goodSecret)(ctx, request)
	}
	r := offer(t, &changing{lists: [][]string{{service(t, busy)}}, err: errors.New("down")}, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
}

// M10, M11: a metadata service that fails for hours is asked all the time, at its
// pace, with one line in the log; the clock of the wait is not that of the wall.
func TestM10AndM11FailureForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		defer cancel()
		core, logs := observer.New(zap.DebugLevel)
		source := &changing{err: errors.New("metadata is down"), start: time.Now()}
		client := New(quoting{}, atls.AcceptAnyPeer, zap.New(core), source)
		require.NoError(t, client.Offer(ctx, testDisk, (&stateDisk{}).prove))
		assert.Equal(t, 10*time.Hour, time.Since(source.start), "the wait ends with the context")
		limit := production.pause
		for i := range len(source.asked) - 1 {
			pause := source.asked[i+1] - source.asked[i]
			assert.GreaterOrEqual(t, pause, limit/10)
			assert.LessOrEqual(t, pause, limit)
			limit = min(2*limit, production.maxPause)
		}
		assert.Greater(t, len(source.asked), 1200)
		lines := logs.FilterMessage("Failed to get list with JoinService endpoints").All()
		require.Len(t, lines, 1)
		assert.Equal(t, zap.WarnLevel, lines[0].Level)
		assert.Equal(t, "metadata is down", lines[0].ContextMap()["error"])
	})
}

// alternating says another thing on every call (M9).
type alternating struct {
	mu    sync.Mutex
	calls int
	good  string
	bad   static
}

func (a *alternating) JoinEndpoints(context.Context) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.calls%5 == 0 {
		return []string{a.good}, nil
	}
	port := a.calls
	fresh := make([]string, len(a.bad))
	for i := range fresh {
		fresh[i] = fmt.Sprintf("127.0.2.%d:%d", i, port)
	}
	return fresh, nil
}

func TestM9AnswerChangesOnEveryCall(t *testing.T) {
	var disk stateDisk
	source := &alternating{good: service(t, ticket(goodKey, goodSecret)), bad: make(static, 200)}
	r := offer(t, source, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
	assert.LessOrEqual(t, r.client.Counts()["endpoints"], maxEndpoints)
}
