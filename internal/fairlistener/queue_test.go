package fairlistener

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const maxWaiting = 16

// newTestQueue is as for quotes.
func newTestQueue() *Queue { return NewQueue(1, 1, maxWaiting) }

func at(host int) Network {
	return NetworkOf(&net.TCPAddr{IP: net.IPv4(10, 0, byte(host>>8), byte(host))})
}

// arrivals are what happens while one holds the turn; the result is the order
// in which they pass.
func order(t *testing.T, q *Queue, arrivals ...int) (passed []int) {
	t.Helper()
	require.NoError(t, q.Enter(t.Context(), at(9999), false))
	var waiting sync.WaitGroup
	for _, host := range arrivals {
		waiting.Go(func() {
			if q.Enter(t.Context(), at(host), false) == nil {
				passed = append(passed, host)
				q.Leave(at(host))
			}
		})
		synctest.Wait()
	}
	q.Leave(at(9999))
	waiting.Wait()
	return passed
}

func TestQueue(t *testing.T) {
	flood := make([]int, 3*maxWaiting)
	many := make([]int, 3*maxWaiting)
	for i := range flood {
		flood[i], many[i] = 1, i+100
	}
	for name, tc := range map[string]struct {
		before, arrivals, want []int
	}{
		"in order":                            {nil, []int{1, 2, 3}, []int{1, 2, 3}},
		"firsts before seconds":               {nil, []int{1, 1, 2, 3, 1}, []int{1, 2, 3, 1, 1}},
		"who came never before who came once": {[]int{1}, []int{1, 2}, []int{2, 1}},
		"who came long ago before who came":   {[]int{2, 1}, []int{1, 2}, []int{2, 1}},
		"flood of one":                        {nil, append(flood, 2), append([]int{1, 2}, flood[:maxWaiting-2]...)},
		"flood of many, all of them known":    {many, append(many, 2), append([]int{2}, many[:maxWaiting-1]...)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newTestQueue()
				for _, host := range tc.before {
					order(t, q, host)
				}
				assert.Equal(t, tc.want, order(t, q, tc.arrivals...))
			})
		})
	}
}

func TestAbandonedTurnIsPassedOn(t *testing.T) {
	for range 200 {
		q := newTestQueue()
		require.NoError(t, q.Enter(t.Context(), at(1), false))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- q.Enter(ctx, at(2), false) }()
		go cancel()
		q.Leave(at(1))
		if <-ended == nil {
			q.Leave(at(2))
		}
		require.NoError(t, q.Enter(t.Context(), at(3), false))
	}
}

func TestQueueRemembersSoManyAndNoMore(t *testing.T) {
	q := newTestQueue()
	for host := range maxRemembered + 100 {
		require.NoError(t, q.Enter(t.Context(), at(host), false))
		q.Leave(at(host))
	}
	assert.Len(t, q.passed, maxRemembered)
	assert.Contains(t, q.passed, at(maxRemembered+99).Widest())
}

// arrival is somebody who comes while one holds the turn.
type arrival struct {
	address string
	named   bool
}

// Who was named goes before strangers, and one /48 of IPv6 is one stranger, however
// many networks are in it.
func TestQueueByNameAndBySize(t *testing.T) {
	swarm := make([]arrival, 3*maxWaiting)
	for i := range swarm {
		swarm[i] = arrival{fmt.Sprintf("[2001:db8:0:%x::1]:1", i), false}
	}
	for name, tc := range map[string]struct {
		before, arrivals []arrival
		want             string // who passes first
	}{
		"an operator among strangers who never came": {nil, []arrival{{"192.0.2.1:1", false}, {"192.0.2.2:1", true}}, "192.0.2.2:1 named"},
		"an operator from the flood's own address":   {nil, append(slices.Repeat([]arrival{{"192.0.2.1:1", false}}, 3*maxWaiting), arrival{"192.0.2.1:1", true}), "192.0.2.1:1 named"},
		"an operator who has passed before":          {[]arrival{{"192.0.2.1:1", true}}, []arrival{{"192.0.2.2:1", false}, {"192.0.2.1:1", true}}, "192.0.2.1:1 named"},
		"another /48 than the swarm's":               {swarm[:1], append(slices.Clone(swarm), arrival{"[2001:db8:9::1]:1", false}), "[2001:db8:9::1]:1"},
		"another /56 in the swarm's /48":             {swarm[:1], []arrival{swarm[1], {"[2001:db8:0:ff00::1]:1", false}}, "[2001:db8:0:ff00::1]:1"},
		"another /64 in the swarm's /56":             {swarm[:1], []arrival{swarm[0], swarm[1]}, swarm[1].address},
		"IPv4 beside the swarm":                      {swarm[:1], append(slices.Clone(swarm), arrival{"192.0.2.1:1", false}), "192.0.2.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newTestQueue()
				for _, a := range tc.before {
					network := NetworkOf(textAddr(a.address))
					require.NoError(t, q.Enter(t.Context(), network, a.named))
					q.Leave(network)
				}
				first := passes(t, q, tc.arrivals)[0]
				assert.Equal(t, tc.want, first)
			})
		})
	}
}

// Where the last peer has proven itself, one goes before strangers, of whom there may be
// more than places; who then proves nothing is a stranger again.
func TestQueueBehindWhoHasProvenItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue()
		node, swarm := arrival{address: "192.0.2.1:1"}, make([]arrival, 3*maxWaiting)
		for i := range swarm {
			swarm[i] = arrival{address: fmt.Sprintf("198.18.0.%d:1", i)}
		}
		swarm = append(swarm, node)
		require.Equal(t, "198.18.0.0:1", passes(t, q, swarm)[0], "not proven")
		q.Trust(NetworkOf(textAddr(node.address)))
		require.Equal(t, node.address, passes(t, q, swarm)[0])
		require.NotContains(t, passes(t, q, swarm), node.address)
		for host := range maxRemembered + 100 {
			q.Trust(at(host))
		}
		require.Len(t, q.proven, maxRemembered)
	})
}

// passes has all arrive while one holds the turn, and tells their order.
func passes(t *testing.T, q *Queue, arrivals []arrival) (order []string) {
	t.Helper()
	holder := NetworkOf(textAddr("198.51.100.1:1"))
	require.NoError(t, q.Enter(t.Context(), holder, true))
	var waiting sync.WaitGroup
	for _, a := range arrivals {
		waiting.Go(func() {
			network := NetworkOf(textAddr(a.address))
			if q.Enter(t.Context(), network, a.named) == nil {
				text := a.address
				if a.named {
					text += " named"
				}
				order = append(order, text)
				q.Leave(network)
			}
		})
		synctest.Wait()
	}
	q.Leave(holder)
	waiting.Wait()
	return order
}

// One network leaves turns to others, even if all are free.
func TestTurnsOfOneNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(4, 2, maxWaiting)
		for range 2 {
			require.NoError(t, q.Enter(t.Context(), at(1), false))
		}
		third := make(chan error, 1)
		go func() { third <- q.Enter(t.Context(), at(1), false) }()
		synctest.Wait()
		require.Empty(t, third, "its third waits")
		require.NoError(t, q.Enter(t.Context(), at(2), false))
		q.Leave(at(1))
		require.NoError(t, <-third)
		q.Leave(at(1))
		q.Leave(at(1))
		q.Leave(at(2))
		assert.Empty(t, q.taken)
	})
}
