package rejoinclient

import (
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// jitter spreads nodes that were restarted together: a tenth to all of d.
func jitter(d time.Duration) time.Duration { return d/10 + rand.N(d-d/10+1) }

// backoff is the wait after that many failures of an endpoint in a row. A hint
// of the endpoint is waited out, within bounds: nobody can make this node ask
// more often than it would at first, nor less often than it would at last.
func (t times) backoff(failures int, err error) time.Duration {
	if hint, ok := retryHint(err); ok {
		hint = min(max(hint, t.pause), t.maxPause*4/5)
		return hint + rand.N(hint/4+1)
	}
	pause := t.pause
	for i := 1; i < failures && pause < t.maxPause; i++ {
		pause *= 2
	}
	return jitter(min(pause, t.maxPause))
}

// retryHint finds the RetryInfo of a server that is busy.
func retryHint(err error) (time.Duration, bool) {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.ResourceExhausted && s.Code() != codes.Unavailable {
		return 0, false
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay().IsValid() {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}
