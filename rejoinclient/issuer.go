package rejoinclient

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/fairlistener"
)

// errLine reports that an attempt has waited for its turn as long as a server has
// patience. It is no fault of the endpoint.
var errLine = errors.New("it was not this endpoint's turn yet")

// issuer attests the node on one connection, when it is its turn.
type issuer struct {
	attestation.Issuer
	turns    *turns
	place    *place
	patience *patience

	mu     sync.Mutex
	holds  bool
	quoted bool // a quote was made
	late   bool // the wait for the turn took too long
	timer  *time.Timer
}

// Issue keeps its turn for a while, because the answer mostly comes at once. Until
// it returns, the peer has nothing to do, and its time stands still.
func (i *issuer) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	i.patience.rest()
	defer i.patience.begin()
	if err := i.enter(ctx); err != nil {
		return nil, err
	}
	defer i.passLater()
	document, err := i.Issuer.Issue(ctx, userData, nonce)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.quoted = true
	return document, err
}

func (i *issuer) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, i.turns.times.inLine, errLine)
	defer cancel()
	err := i.turns.enter(ctx, i.place)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.holds, i.late = err == nil, errors.Is(err, errLine)
	return err
}

func (i *issuer) passLater() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.timer = time.AfterFunc(i.turns.times.quiet, func() { i.pass(false) })
}

// pass gives the turn to the next attempt, if it has not been passed yet.
func (i *issuer) pass(early bool) {
	i.mu.Lock()
	held := i.holds
	i.holds = false
	if i.timer != nil {
		i.timer.Stop()
	}
	i.mu.Unlock()
	if held {
		i.turns.leave(early)
	}
}

// wasLate and hasQuoted say how it went.
func (i *issuer) wasLate() bool   { i.mu.Lock(); defer i.mu.Unlock(); return i.late }
func (i *issuer) hasQuoted() bool { i.mu.Lock(); defer i.mu.Unlock(); return i.quoted }

// errUnanswered is the cause when patience is at its end.
var errUnanswered = errors.New("the endpoint took too long to answer")

// patience ends a context when the peer has had its time. It can rest, and then
// begins anew.
type patience struct {
	timer  *time.Timer
	time   time.Duration
	cancel context.CancelCauseFunc
}

// newPatience begins. The caller ends it.
func newPatience(ctx context.Context, limit time.Duration) (context.Context, *patience) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{time: limit, cancel: cancel}
	p.timer = time.AfterFunc(limit, func() { cancel(errUnanswered) })
	return ctx, p
}

// judging lets the peer's time stand still while it is judged, which may be to wait for
// somebody who is asked about it: for one network after the other.
func (p *patience) judging(peer net.Conn) func(context.Context, func(context.Context) error) error {
	network := fairlistener.NetworkOf(peer.RemoteAddr())
	return func(ctx context.Context, decide func(context.Context) error) error {
		p.rest()
		defer p.begin()
		return decide(network.In(ctx))
	}
}

func (p *patience) rest()  { p.timer.Stop() }
func (p *patience) begin() { p.timer.Reset(p.time) }
func (p *patience) end()   { p.rest(); p.cancel(nil) }
