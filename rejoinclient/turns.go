package rejoinclient

import (
	"context"
	"sync"
	"time"

	"disk-mapper/attestation"
)

// turns lets attempts attest this node: maxTalking of them at a time, in the
// order in which they ask, and a little apart, so that whoever is first can
// answer before the others cost a quote.
type turns struct {
	talking chan struct{}
	next    chan struct{} // held by who waits for the stagger to be over
	last    time.Time     // belongs to who holds next
	failed  chan struct{}
	times   times
}

func newTurns(t times) *turns {
	return &turns{talking: make(chan struct{}, maxTalking), next: make(chan struct{}, 1), failed: make(chan struct{}), times: t}
}

func (t *turns) enter(ctx context.Context) error {
	select {
	case t.next <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-t.next }()
	select {
	case t.talking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-time.After(time.Until(t.last.Add(t.times.stagger))):
	case <-t.failed: // no reason to give that one time
	case <-ctx.Done():
		<-t.talking
		return ctx.Err()
	}
	t.last = time.Now()
	return nil
}

// leave ends a turn; early says that it is known to lead nowhere.
func (t *turns) leave(early bool) {
	<-t.talking
	if early {
		select {
		case t.failed <- struct{}{}:
		default: // nobody waits
		}
	}
}

// speaker attests the node in one attempt, when it is its turn.
type speaker struct {
	attestation.Issuer
	turns *turns

	mu    sync.Mutex
	holds bool
	timer *time.Timer
}

// Issue keeps its turn for a while, because the answer mostly comes at once.
func (s *speaker) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	if err := s.turns.enter(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.holds = true
	s.mu.Unlock()
	defer s.passLater()
	return s.Issuer.Issue(ctx, userData, nonce)
}

func (s *speaker) passLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(s.turns.times.quiet, func() { s.pass(false) })
}

// pass gives the turn to the next attempt, if it has not been passed yet.
func (s *speaker) pass(early bool) {
	s.mu.Lock()
	held := s.holds
	s.holds = false
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	if held {
		s.turns.leave(early)
	}
}
