package recoveryserver

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func at(host int) netip.Prefix {
	return network(&net.TCPAddr{IP: net.IPv4(10, 0, byte(host>>8), byte(host))})
}

// arrivals are what happens while one holds the turn; the result is the order
// in which they pass.
func order(t *testing.T, q *queue, arrivals ...int) (passed []int) {
	t.Helper()
	require.NoError(t, q.enter(t.Context(), at(9999)))
	var waiting sync.WaitGroup
	for _, host := range arrivals {
		waiting.Go(func() {
			if q.enter(t.Context(), at(host)) == nil {
				passed = append(passed, host)
				q.leave()
			}
		})
		synctest.Wait()
	}
	q.leave()
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
				q := new(queue)
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
		q := new(queue)
		require.NoError(t, q.enter(t.Context(), at(1)))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- q.enter(ctx, at(2)) }()
		go cancel()
		q.leave()
		if <-ended == nil {
			q.leave()
		}
		require.NoError(t, q.enter(t.Context(), at(3)))
	}
}

func TestQueueRemembersSoManyAndNoMore(t *testing.T) {
	q := new(queue)
	for host := range 2 * maxRemembered {
		require.NoError(t, q.enter(t.Context(), at(host)))
		q.leave()
	}
	assert.Len(t, q.passed, maxRemembered)
	assert.Contains(t, q.passed, at(2*maxRemembered-1))
}
