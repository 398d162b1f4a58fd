package rejoinclient

import (
	"slices"
	"time"
)

// book is what is known of all endpoints: which there are, when to ask each, how
// it went. Time is an argument.
type book struct {
	lists     [][]string // by rank of their source
	endpoints map[string]*endpoint
	order     []string // those listed, in the order of the sources
	attempts  int
}

type endpoint struct {
	address  string
	listed   bool
	asking   bool
	due      time.Time
	failures int // in a row
	state    state
	asked    bool   // the log says so
	logged   string // the failure that the log shows
	ended    bool   // an attempt has, since the last summary
}

func newBook(sources int) *book {
	return &book{lists: make([][]string, sources), endpoints: map[string]*endpoint{}}
}

// update takes what the source of that rank says now, and reports whether that
// changes what is listed.
func (b *book) update(rank int, list []string, now time.Time) bool {
	b.lists[rank] = list[:min(len(list), maxEndpoints)]
	var order []string
	seen := map[string]bool{}
	for _, list := range b.lists {
		for _, address := range list {
			if !seen[address] && len(order) < maxEndpoints {
				order, seen[address] = append(order, address), true
			}
		}
	}
	changed := !slices.Equal(order, b.order)
	b.order = order
	for address, e := range b.endpoints {
		if e.listed = seen[address]; !e.listed && !e.asking {
			delete(b.endpoints, address)
		}
	}
	for _, address := range order {
		if b.endpoints[address] == nil {
			b.endpoints[address] = &endpoint{address: address, listed: true, due: now}
		}
	}
	return changed
}

// due takes those to ask now, longest due first: so a list that changes all the
// time keeps nobody from being asked. There are never more than maxEndpoints
// attempts.
func (b *book) due(now time.Time) []*endpoint {
	var ready []*endpoint
	room := maxEndpoints
	for _, e := range b.endpoints {
		if e.asking {
			room--
		}
	}
	for _, address := range b.order {
		if e := b.endpoints[address]; !e.asking && !e.due.After(now) {
			ready = append(ready, e)
		}
	}
	slices.SortStableFunc(ready, func(x, y *endpoint) int { return x.due.Compare(y.due) })
	ready = ready[:min(len(ready), room)]
	for _, e := range ready {
		e.asking = true
		b.attempts++
	}
	return ready
}

// next is when somebody becomes due; never if nobody is waiting for that.
func (b *book) next() (at time.Time, ok bool) {
	for _, address := range b.order {
		if e := b.endpoints[address]; !e.asking && (!ok || e.due.Before(at)) {
			at, ok = e.due, true
		}
	}
	return at, ok
}

// fail books a failed attempt. The next one follows after wait(failures in a row).
func (b *book) fail(o outcome, now time.Time, wait func(int, error) time.Duration) *endpoint {
	e := b.endpoints[o.endpoint]
	e.asking, e.ended, e.state = false, true, o.state
	e.failures++
	e.due = now.Add(wait(e.failures, o.err))
	if !e.listed {
		delete(b.endpoints, o.endpoint)
	}
	return e
}

// roundOver reports whether each listed endpoint has failed since it last did.
func (b *book) roundOver() bool {
	for _, address := range b.order {
		if !b.endpoints[address].ended {
			return false
		}
	}
	for _, address := range b.order {
		b.endpoints[address].ended = false
	}
	return len(b.order) > 0
}

// counts has a member for each state, and they add up to the endpoints.
func (b *book) counts() map[string]int {
	counts := map[string]int{
		"attempts": b.attempts, "endpoints": len(b.order),
		"endpointsUntried": 0, "endpointsUnreachable": 0, "endpointsSilent": 0, "endpointsRefused": 0, "endpointsWrongKey": 0,
	}
	for _, address := range b.order {
		counts[stateCounts[b.endpoints[address].state]]++
	}
	return counts
}

var stateCounts = map[state]string{
	untried:     "endpointsUntried",
	unreachable: "endpointsUnreachable",
	unanswered:  "endpointsSilent",
	refused:     "endpointsRefused",
	badKey:      "endpointsWrongKey",
}
