package rejoinclient

import (
	"context"
	"errors"
	"testing"
	"time"

	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	productionAnswer = 10 * time.Second
	pollTime         = time.Millisecond
)

func busy(code codes.Code, delay time.Duration) error {
	s, err := status.New(code, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	if err != nil {
		return err
	}
	return s.Err()
}

func TestBackoff(t *testing.T) {
	fault := errors.New("fault")
	for name, tc := range map[string]struct {
		failures   int
		err        error
		from, upTo time.Duration
	}{
		"first":                  {1, fault, 200 * time.Millisecond, 2 * time.Second},
		"third":                  {3, fault, 800 * time.Millisecond, 8 * time.Second},
		"longest":                {1000, fault, 3 * time.Second, 30 * time.Second},
		"hint":                   {1, busy(codes.ResourceExhausted, 8*time.Second), 8 * time.Second, 10 * time.Second},
		"hint to come back soon": {1000, busy(codes.Unavailable, 3*time.Second), 3 * time.Second, 4 * time.Second},
		"hint of nothing":        {5, busy(codes.Unavailable, 0), 2 * time.Second, 2500 * time.Millisecond},
		"hint of never":          {1, busy(codes.Unavailable, 1<<62), 24 * time.Second, 30 * time.Second},
		"negative hint":          {1, busy(codes.Unavailable, -time.Hour), 2 * time.Second, 2500 * time.Millisecond},
		"hint of another code":   {1, busy(codes.PermissionDenied, 20*time.Second), 200 * time.Millisecond, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				got := production.backoff(tc.failures, tc.err)
				assert.GreaterOrEqual(t, got, tc.from)
				assert.LessOrEqual(t, got, tc.upTo)
			}
		})
	}
}

// No herd: what 1,000 nodes that failed together wait covers most of the window,
// and each tenth of it has its share.
func TestBackoffSpreadsAThousandNodes(t *testing.T) {
	for failures, window := range map[int]time.Duration{1: 2 * time.Second, 3: 8 * time.Second, 9: 30 * time.Second} {
		first, last := window, time.Duration(0)
		var tenths [10]int
		for range 1000 {
			d := production.backoff(failures, errors.New("fault"))
			first, last = min(first, d), max(last, d)
			tenths[min(9, 10*d/window)]++
		}
		assert.GreaterOrEqual(t, float64(last-first), 0.8*float64(window))
		for _, n := range tenths[1:] {
			assert.Less(t, n, 200)
		}
	}
}

// The hint of a server that is busy travels in the details of its status.
func TestRetryHintOverTheWire(t *testing.T) {
	endpoint := service(t, func(context.Context, *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		return nil, busy(codes.ResourceExhausted, time.Hour)
	})
	r := offer(t, static{endpoint}, (&stateDisk{}).prove, func(c *Client) { c.times.maxPause = time.Hour })
	r.awaitLine(t, "Failed to rejoin on all endpoints")
	require.Equal(t, 1, r.client.Counts()["attempts"], "with a backoff of a millisecond there would be more")
}

func TestCounts(t *testing.T) {
	endpoints := static{
		refusing(t), mute(t, make(chan struct{}, 100)), service(t, refusal(codes.PermissionDenied)), service(t, ticket(wrongKey, goodSecret)),
	}
	want := map[string]int{
		"attempts": 4, "endpoints": 4, "endpointsUntried": 0,
		"endpointsUnreachable": 1, "endpointsSilent": 1, "endpointsRefused": 1, "endpointsWrongKey": 1,
	}
	for answer := 300 * time.Millisecond; ; answer *= 2 { // until those of this machine that are not silent answer in time
		r := offer(t, endpoints, (&stateDisk{}).prove, func(c *Client) {
			c.times.answer, c.times.pause, c.times.maxPause, c.times.connect = answer, time.Hour, time.Hour, time.Hour
		})
		r.awaitLine(t, "Failed to rejoin on all endpoints")
		require.Eventually(t, func() bool { return r.client.Counts()["endpointsUntried"] == 0 }, productionAnswer, pollTime)
		counts := r.client.Counts()
		if counts["endpointsSilent"] > 1 && answer < productionAnswer {
			r.cancel()
			r.mustEnd(t)
			continue
		}
		assert.Equal(t, want, counts)
		return
	}
}

func TestCountsBeforeTheOffer(t *testing.T) {
	assert.Equal(t, 0, (&Client{}).Counts()["endpoints"])
	assert.Len(t, (&Client{}).Counts(), 7)
}

// What has not changed is not said again, but each round is summed up.
func TestNothingIsSaidTwice(t *testing.T) {
	dead, refuses := refusing(t), service(t, refusal(codes.PermissionDenied))
	r := offer(t, static{dead, refuses}, (&stateDisk{}).prove, func(c *Client) { c.times.maxPause = time.Millisecond })
	require.Eventually(t, func() bool { return r.logs.FilterMessage("Failed to rejoin on all endpoints").Len() >= 5 }, productionAnswer, pollTime)
	assert.Len(t, r.errorsOf(dead), 1)
	assert.Len(t, r.errorsOf(refuses), 1)
	assert.Equal(t, 2, r.logs.FilterMessage("Requesting rejoin ticket").Len())
	assert.Equal(t, 1, r.logs.FilterMessage("Received list with JoinService endpoints").Len())
}

// That there is nobody to ask is said, once.
func TestNobodyToAsk(t *testing.T) {
	r := offer(t, static{}, (&stateDisk{}).prove)
	r.awaitLine(t, "Failed to get list with JoinService endpoints")
	assert.Equal(t, "nobody knows another control-plane node", r.logs.FilterMessage("Failed to get list with JoinService endpoints").All()[0].ContextMap()["error"])
}

// A long list does not flood a serial console.
func TestLinesAreBounded(t *testing.T) {
	r := offer(t, static(many(t, 250, refusing(t))), (&stateDisk{}).prove, func(c *Client) { c.times.pause, c.times.maxPause = time.Hour, time.Hour })
	r.awaitLine(t, "Failed to rejoin on all endpoints")
	assert.LessOrEqual(t, r.logs.Len(), lineBurst+3)
	listed := r.logs.FilterMessage("Received list with JoinService endpoints").All()[0].ContextMap()
	assert.Len(t, listed["endpoints"], maxListed)
	assert.EqualValues(t, 250-maxListed, listed["more"])
}
