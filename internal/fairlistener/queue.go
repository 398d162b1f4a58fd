package fairlistener

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
)

// ErrBusy reports that there is no place in the queue.
var ErrBusy = errors.New("too many others are waiting")

// Queue lets some at a time pass, and some wait. Who was named goes first, then one
// peer of each /64 or IPv4 address where the last one has proven itself. Of
// strangers, the network goes first that has passed longest ago, or never:
// first the /48, in it the /56, then the /64. When there is no place left, the
// network that has most waiting loses its last. So whoever comes for the first
// time gets through a flood of those who come again and again.
type Queue struct {
	turns, turnsOfOne, places int

	mu      sync.Mutex
	taken   map[netip.Prefix]int // turns, by the widest network
	waiting []*ticket            // in the order of arrival
	passes  int
	passed  map[netip.Prefix]int // number of the last pass of a network
	proven  map[Network]bool     // the last that passed has proven itself
}

type ticket struct {
	network Network
	named   bool
	turn    chan bool // true: pass; false: give way
}

// NewQueue returns a queue for so many turns at a time, so many of them for one
// network, and with so many places for those who wait.
func NewQueue(turns, turnsOfOne, places int) *Queue {
	return &Queue{
		turns: turns, turnsOfOne: turnsOfOne, places: places,
		taken: map[netip.Prefix]int{}, passed: map[netip.Prefix]int{}, proven: map[Network]bool{},
	}
}

// Enter waits for a turn, which ends with Leave. It fails with ErrBusy or the
// cause of the end of ctx.
func (q *Queue) Enter(ctx context.Context, network Network, named bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t := q.join(network, named)
	select {
	case pass := <-t.turn:
		if !pass {
			return ErrBusy
		}
		return nil
	case <-ctx.Done():
		q.abandon(t)
		return context.Cause(ctx)
	}
}

// Leave lets the next one pass, after an Enter of the same network.
func (q *Queue) Leave(network Network) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leave(network)
}

// Trust lets the next one of a network go before strangers: the last that passed has
// proven itself.
func (q *Queue) Trust(network Network) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.proven[network] = true
	for other := range q.proven {
		if len(q.proven) > maxRemembered && other != network {
			delete(q.proven, other)
		}
	}
}

func (q *Queue) leave(network Network) {
	if q.taken[network.Widest()]--; q.taken[network.Widest()] == 0 {
		delete(q.taken, network.Widest())
	}
	q.next()
}

func (q *Queue) join(network Network, named bool) *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &ticket{network: network, named: named, turn: make(chan bool, 1)}
	q.waiting = append(q.waiting, t)
	q.next()
	if len(q.waiting) > q.places {
		q.remove(q.lastInLine()).turn <- false
	}
	return t
}

// abandon passes the turn on if t has just got it.
func (q *Queue) abandon(t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, t); i >= 0 {
		q.remove(i)
		return
	}
	if pass := <-t.turn; pass {
		q.leave(t.network)
	}
}

func (q *Queue) next() {
	for q.inUse() < q.turns {
		first := q.firstInLine()
		if first < 0 {
			return
		}
		t := q.remove(first)
		q.taken[t.network.Widest()]++
		q.remember(t.network)
		t.turn <- true
	}
}

func (q *Queue) inUse() (n int) {
	for _, of := range q.taken {
		n += of
	}
	return n
}

func (q *Queue) remove(i int) *ticket {
	t := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return t
}

func (q *Queue) remember(network Network) {
	q.passes++
	delete(q.proven, network)
	for _, n := range network {
		q.passed[n] = q.passes
	}
	for len(q.passed) > maxRemembered {
		oldest := network.Widest()
		for other, pass := range q.passed {
			if pass < q.passed[oldest] {
				oldest = other
			}
		}
		delete(q.passed, oldest)
	}
}

// firstInLine is the index of who passes next, or -1.
func (q *Queue) firstInLine() int {
	first := -1
	var least []int
	for i, t := range q.waiting {
		if q.taken[t.network.Widest()] >= q.turnsOfOne {
			continue
		}
		if rank := q.rank(t); first < 0 || slices.Compare(rank, least) < 0 {
			first, least = i, rank
		}
	}
	return first
}

// lastInLine is the index of who gives way; of equals, the one that came last.
func (q *Queue) lastInLine() int {
	waiting := map[netip.Prefix]int{}
	for _, t := range q.waiting {
		for _, n := range slices.Compact(slices.Clone(t.network[:])) {
			waiting[n]++
		}
	}
	last := 0
	var most []int
	for i, t := range q.waiting {
		rank := []int{index(!t.named)}
		for _, n := range t.network {
			rank = append(rank, waiting[n])
		}
		if rank = append(rank, q.rank(t)...); slices.Compare(rank, most) >= 0 {
			last, most = i, rank
		}
	}
	return last
}

// rank is a place in line, but for the order of arrival; the lowest goes first.
func (q *Queue) rank(t *ticket) []int {
	rank := []int{index(!t.named), index(!q.proven[t.network])}
	for _, n := range t.network {
		rank = append(rank, q.passed[n])
	}
	return rank
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}
