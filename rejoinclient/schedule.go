package rejoinclient

import (
	"slices"
	"time"
)

// schedule is what is known of all endpoints: which there are, when to ask each, how
// it went. Time is an argument.
type schedule struct {
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
	inVain   int // quotes that it has taken, without a key that opens the disk
	state    state
	asked    bool   // the log says so
	logged   string // the failure that the log shows
	ended    bool   // an attempt has, since the last summary
}

func newSchedule(sources int) *schedule {
	return &schedule{lists: make([][]string, sources), endpoints: map[string]*endpoint{}}
}

// update takes what the source of that rank says now, and reports whether that
// changes what is listed.
func (s *schedule) update(rank int, list []string, now time.Time) bool {
	s.lists[rank] = list[:min(len(list), maxEndpoints)]
	var order []string
	seen := map[string]bool{}
	for _, list := range s.lists {
		for _, address := range list {
			if !seen[address] && len(order) < maxEndpoints {
				order, seen[address] = append(order, address), true
			}
		}
	}
	changed := !slices.Equal(order, s.order)
	s.order = order
	for address, e := range s.endpoints {
		if e.listed = seen[address]; !e.listed && !e.asking {
			delete(s.endpoints, address)
		}
	}
	for _, address := range order {
		if s.endpoints[address] == nil {
			s.endpoints[address] = &endpoint{address: address, listed: true, due: now}
		}
	}
	return changed
}

// due takes those to ask now, longest due first: so a list that changes all the
// time keeps nobody from being asked. There are never more than maxEndpoints
// attempts.
func (s *schedule) due(now time.Time) []*endpoint {
	var ready []*endpoint
	room := maxEndpoints
	for _, e := range s.endpoints {
		if e.asking {
			room--
		}
	}
	for _, address := range s.order {
		if e := s.endpoints[address]; !e.asking && !e.due.After(now) {
			ready = append(ready, e)
		}
	}
	slices.SortStableFunc(ready, func(x, y *endpoint) int { return x.due.Compare(y.due) })
	ready = ready[:min(len(ready), room)]
	for _, e := range ready {
		e.asking = true
		s.attempts++
	}
	return ready
}

// next is when somebody becomes due; never if nobody is waiting for that.
func (s *schedule) next() (at time.Time, ok bool) {
	for _, address := range s.order {
		if e := s.endpoints[address]; !e.asking && (!ok || e.due.Before(at)) {
			at, ok = e.due, true
		}
	}
	return at, ok
}

// fail notes a failed attempt. The next one follows after wait(failures in a row).
func (s *schedule) fail(o outcome, now time.Time, wait func(int, error) time.Duration) *endpoint {
	e := s.endpoints[o.endpoint]
	e.asking, e.ended, e.state = false, true, o.state
	e.failures++
	if o.quoted {
		e.inVain++
	}
	e.due = now.Add(wait(e.failures, o.err))
	if !e.listed {
		delete(s.endpoints, o.endpoint)
	}
	return e
}

// roundOver reports whether each listed endpoint has failed since it last did.
func (s *schedule) roundOver() bool {
	for _, address := range s.order {
		if !s.endpoints[address].ended {
			return false
		}
	}
	for _, address := range s.order {
		s.endpoints[address].ended = false
	}
	return len(s.order) > 0
}

// counts has a member for each state, and they add up to the endpoints.
func (s *schedule) counts() map[string]int {
	counts := map[string]int{
		"attempts": s.attempts, "endpoints": len(s.order),
		"endpointsUntried": 0, "endpointsUnreachable": 0, "endpointsSilent": 0, "endpointsRefused": 0, "endpointsWrongKey": 0,
	}
	for _, address := range s.order {
		counts[stateCounts[s.endpoints[address].state]]++
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
