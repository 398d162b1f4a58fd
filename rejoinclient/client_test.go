package rejoinclient

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

func TestRejoin(t *testing.T) {
	var disk stateDisk
	var asked string
	endpoint := service(t, func(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		asked = request.GetDiskUuid()
		return ticket(goodKey, goodSecret)(ctx, request)
	})
	r := offer(t, static{endpoint}, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
	assert.Equal(t, testDisk.String(), asked)
	assert.Equal(t, []string{
		"Starting RejoinClient", "Received list with JoinService endpoints", "Requesting rejoin ticket",
		"Successfully retrieved rejoin ticket", "RejoinClient stopped",
	}, messages(r))
}

func messages(r *run) []string {
	var texts []string
	for _, line := range r.logs.All() {
		texts = append(texts, line.Message)
	}
	return texts
}

// afterFailure answers only once the other endpoint has been found wanting.
func afterFailure(t *testing.T, r **run, then answer) answer {
	return func(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		(*r).awaitLine(t, "Failed to rejoin on endpoint")
		return then(ctx, request)
	}
}

// Each bad answer is refused with its reason, and the good one from another
// endpoint wins (R1 to R4, R7, R8).
func TestR1ToR8BadAnswersThenAGoodOne(t *testing.T) {
	tests := map[string]struct {
		bad      answer
		wantText string
	}{
		"R1 wrong key":         {ticket(wrongKey, goodSecret), "the key does not open the state disk"},
		"R2 no key":            {ticket(nil, goodSecret), "state disk key: wrong length: 0 bytes"},
		"R2 key of 31":         {ticket(goodKey[:31], goodSecret), "state disk key: wrong length: 31 bytes"},
		"R2 key of 33":         {ticket(append(bytes.Clone(goodKey), 1), goodSecret), "state disk key: wrong length: 33 bytes"},
		"R2 key of 1 MiB":      {ticket(make([]byte, 1<<20), goodSecret), "ResourceExhausted"},
		"R4 key of 5 MiB":      {ticket(make([]byte, 5<<20), goodSecret), "ResourceExhausted"},
		"R3 no secret":         {ticket(goodKey, nil), "measurement secret: wrong length: 0 bytes"},
		"R3 short secret":      {ticket(goodKey, goodSecret[:16]), "measurement secret: wrong length: 16 bytes"},
		"R2 empty answer":      {ticket(nil, nil), "wrong length"},
		"R7 unavailable":       {refusal(codes.Unavailable), "code = Unavailable desc = no ticket"},
		"R7 permission denied": {refusal(codes.PermissionDenied), "code = PermissionDenied desc = no ticket"},
		"R7 unimplemented":     {refusal(codes.Unimplemented), "code = Unimplemented desc = no ticket"},
		"R4 long trailers": {func(ctx context.Context, _ *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("x", strings.Repeat("x", 2*maxHeaders)))
			return &joinproto.IssueRejoinTicketResponse{StateDiskKey: goodKey, MeasurementSecret: goodSecret}, nil
		}, "rpc error"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var disk stateDisk
			var r *run
			ready := make(chan struct{})
			bad := service(t, tc.bad)
			good := service(t, func(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
				<-ready
				return afterFailure(t, &r, ticket(goodKey, goodSecret))(ctx, request)
			})
			r = offer(t, static{bad, good}, disk.prove)
			close(ready)
			r.mustEnd(t)
			disk.assertWon(t)
			require.Len(t, r.errorsOf(bad), 1)
			assert.Contains(t, r.errorsOf(bad)[0], tc.wantText)
			assert.LessOrEqual(t, len(r.errorsOf(bad)[0]), printable.MaxError+128)
			assert.Empty(t, r.errorsOf(good))
		})
	}
}

func TestR6MuteEndpointRunsIntoTheLimit(t *testing.T) {
	endpoint := mute(t, make(chan struct{}, 100))
	r := offer(t, static{endpoint}, (&stateDisk{}).prove, func(c *Client) { c.times.answer = 50 * time.Millisecond })
	r.awaitLine(t, "Failed to rejoin on all endpoints")
	assert.True(t, contains(r.errorsOf(endpoint), "DeadlineExceeded"), r.errorsOf(endpoint))
}

// Must-hold: cancelling does not wait for a dial that nobody needs.
func TestCancelEndsWhatIsInFlightAtOnce(t *testing.T) {
	accepted, asked, gone := make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	hole := blackHole(t)
	tests := map[string]struct {
		endpoint string
		inFlight func()
	}{
		"dial to a black hole":   {hole, func() { awaitDial(t, hole) }},
		"handshake with nobody":  {mute(t, accepted), func() { <-accepted }},
		"call without an answer": {service(t, silent(asked, gone)), func() { <-asked }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := offer(t, static{tc.endpoint}, (&stateDisk{}).prove, func(c *Client) { // who waits for any of them does not end
				c.times.connect, c.times.answer, c.times.inLine = time.Hour, time.Hour, time.Hour
			})
			tc.inFlight()
			r.cancel()
			r.mustEnd(t)
			assert.Equal(t, "RejoinClient stopped", messages(r)[len(messages(r))-1])
			assert.Empty(t, r.errorsOf(tc.endpoint), "our own cancelling is no failure of the endpoint")
			assert.NotContains(t, messages(r), "Failed to rejoin on all endpoints")
		})
	}
}

func TestFirstGoodAnswerCancelsTheOthers(t *testing.T) {
	var disk stateDisk
	accepted, asked, gone := make(chan struct{}, 1), make(chan struct{}, 2), make(chan struct{}, 2)
	held := silent(asked, gone)
	good := service(t, func(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		<-asked
		<-asked
		<-accepted
		return ticket(goodKey, goodSecret)(ctx, request)
	})
	start := time.Now()
	r := offer(t, static{blackHole(t), mute(t, accepted), service(t, held), service(t, held), good}, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
	<-gone
	<-gone
	assert.Less(t, time.Since(start), production.connect, "nobody waits for the dead")
	assert.NotContains(t, messages(r), "Failed to rejoin on endpoint")
}

// An answer that comes after another source has won ends the wait quietly (R9).
func TestR9AnswerAfterTheDecision(t *testing.T) {
	endpoint := service(t, ticket(goodKey, goodSecret))
	r := offer(t, static{endpoint}, func(context.Context, keys.Pair) error { return keys.ErrDecided })
	r.mustEnd(t)
	assert.NotContains(t, messages(r), "Successfully retrieved rejoin ticket")
	assert.Empty(t, r.errorsOf(endpoint))
}

// Setup ends all sources from within the winner's Prove.
func TestWinnerIsLoggedThoughTheContextEnds(t *testing.T) {
	var r *run
	ready := make(chan struct{})
	r = offer(t, static{service(t, ticket(goodKey, goodSecret))}, func(context.Context, keys.Pair) error {
		<-ready
		r.cancel()
		return nil
	})
	close(ready)
	r.mustEnd(t)
	assert.Contains(t, messages(r), "Successfully retrieved rejoin ticket")
}

func TestFailureOfTheDiskIsLoggedAndTheWaitGoesOn(t *testing.T) {
	var tried atomic.Int32
	endpoint := service(t, ticket(goodKey, goodSecret))
	r := offer(t, static{endpoint}, func(context.Context, keys.Pair) error {
		if tried.Add(1) == 1 {
			return errors.New("reading the header: input/output error")
		}
		return nil
	})
	r.mustEnd(t)
	assert.Equal(t, []string{"reading the header: input/output error"}, r.errorsOf(endpoint))
	assert.Contains(t, messages(r), "Failed to rejoin on all endpoints")
}

func TestCandidatesAreWiped(t *testing.T) {
	var mu sync.Mutex
	var candidates []keys.Pair
	rogue, good := service(t, ticket(wrongKey, goodSecret)), service(t, ticket(goodKey, goodSecret))
	var disk stateDisk
	r := offer(t, static{rogue, good}, func(ctx context.Context, candidate keys.Pair) error {
		mu.Lock()
		defer mu.Unlock()
		candidates = append(candidates, candidate)
		return disk.prove(ctx, candidate)
	})
	r.mustEnd(t)
	disk.assertWon(t)
	for _, candidate := range candidates {
		assert.Equal(t, make([]byte, keys.Size), candidate.Disk.Bytes())
		assert.Equal(t, make([]byte, keys.Size), candidate.Measurement.Bytes())
	}
}
