package rejoinclient

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// turns lets attempts attest this node: maxTalking of them at a time, and a little
// apart, so that whoever is first can answer before the others cost a quote. Those
// go first whose endpoints have taken the fewest quotes in vain; among them, those
// that have waited longest.
type turns struct {
	mu      sync.Mutex
	waiting []*place
	talking int
	next    time.Time   // no turn before
	timer   *time.Timer // for next, if anybody waits for it
	times   times
}

// place is that of one attempt in the line. It is kept when the attempt leaves the
// line for a moment.
type place struct {
	inVain int       // quotes that the endpoint has taken so
	since  time.Time // when it first asked
	turn   chan struct{}
}

func (p *place) compare(q *place) int {
	return cmp.Or(cmp.Compare(p.inVain, q.inVain), p.since.Compare(q.since))
}

// enter waits for the turn of p, and fails only with ctx.
func (t *turns) enter(ctx context.Context, p *place) error {
	p.turn = make(chan struct{})
	t.mu.Lock()
	if p.since.IsZero() {
		p.since = time.Now()
	}
	t.waiting = append(t.waiting, p)
	t.grant()
	t.mu.Unlock()
	select {
	case <-p.turn:
		return nil
	case <-ctx.Done():
		t.giveUp(p)
		return context.Cause(ctx)
	}
}

func (t *turns) giveUp(p *place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-p.turn: // at the same moment
		t.talking--
	default:
		t.remove(p)
	}
	t.grant()
}

func (t *turns) remove(p *place) {
	if i := slices.Index(t.waiting, p); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
}

// grant gives out the turns that are free. The caller holds mu.
func (t *turns) grant() {
	for t.talking < maxTalking && len(t.waiting) > 0 {
		if early := time.Until(t.next); early > 0 {
			t.grantIn(early)
			return
		}
		first := slices.MinFunc(t.waiting, (*place).compare)
		t.remove(first)
		t.talking++
		t.next = time.Now().Add(t.times.stagger)
		close(first.turn)
	}
}

func (t *turns) grantIn(d time.Duration) {
	if t.timer != nil {
		return
	}
	t.timer = time.AfterFunc(d, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.timer = nil
		t.grant()
	})
}

// leave ends a turn; early says that it is known to lead nowhere.
func (t *turns) leave(early bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.talking--
	if early { // no reason to give that one time
		t.next = time.Now()
	}
	t.grant()
}
