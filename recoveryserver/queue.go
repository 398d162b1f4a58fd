package recoveryserver

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
)

// errBusy reports that there is no place in the queue.
var errBusy = errors.New("too many others are waiting")

// queue lets one at a time pass and at most maxWaiting wait. Each network's
// first in line goes before anybody's second, and of those, whose network has
// passed longest ago, or never. Who would go last gives way when there is no
// place left. So whoever comes for the first time gets through a flood of those
// who come again and again.
type queue struct {
	mu      sync.Mutex
	taken   bool
	waiting []*ticket // in the order of arrival
	passes  int
	passed  map[netip.Prefix]int // number of the last pass of a network
}

type ticket struct {
	peer netip.Prefix
	turn chan bool // true: pass; false: give way
}

// enter waits for a turn, which ends with leave. It fails with errBusy or the
// error of ctx.
func (q *queue) enter(ctx context.Context, peer netip.Prefix) error {
	t := q.join(peer)
	select {
	case pass := <-t.turn:
		if !pass {
			return errBusy
		}
		return nil
	case <-ctx.Done():
		q.abandon(t)
		return ctx.Err()
	}
}

// leave lets the next one pass.
func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = false
	q.next()
}

func (q *queue) join(peer netip.Prefix) *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &ticket{peer: peer, turn: make(chan bool, 1)}
	q.waiting = append(q.waiting, t)
	q.next()
	if len(q.waiting) > maxWaiting {
		last := slices.MaxFunc(q.ranks(), rank.compare)
		q.remove(last.arrival).turn <- false
	}
	return t
}

// abandon passes the turn on if t has just got it.
func (q *queue) abandon(t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, t); i >= 0 {
		q.remove(i)
		return
	}
	if pass := <-t.turn; pass {
		q.taken = false
		q.next()
	}
}

func (q *queue) next() {
	if q.taken || len(q.waiting) == 0 {
		return
	}
	first := slices.MinFunc(q.ranks(), rank.compare)
	t := q.remove(first.arrival)
	q.taken = true
	q.remember(t.peer)
	t.turn <- true
}

func (q *queue) remove(i int) *ticket {
	t := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return t
}

func (q *queue) remember(peer netip.Prefix) {
	if q.passed == nil {
		q.passed = map[netip.Prefix]int{}
	}
	q.passes++
	q.passed[peer] = q.passes
	if len(q.passed) > maxRemembered {
		oldest := peer
		for other, pass := range q.passed {
			if pass < q.passed[oldest] {
				oldest = other
			}
		}
		delete(q.passed, oldest)
	}
}

// rank is a place in the queue; the lowest goes first.
type rank struct {
	ahead   int // others of the same network that came before
	passed  int // last pass of the network, 0 for never
	arrival int // index in waiting
}

func (r rank) compare(other rank) int {
	return cmp.Or(cmp.Compare(r.ahead, other.ahead), cmp.Compare(r.passed, other.passed), cmp.Compare(r.arrival, other.arrival))
}

func (q *queue) ranks() []rank {
	ahead := map[netip.Prefix]int{}
	all := make([]rank, len(q.waiting))
	for i, t := range q.waiting {
		all[i] = rank{ahead[t.peer], q.passed[t.peer], i}
		ahead[t.peer]++
	}
	return all
}
