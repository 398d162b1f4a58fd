package rejoinclient

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestAtMostEightInFlight(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	arrived, proceed := make(chan struct{}, 40), make(chan struct{})
	endpoint := service(t, func(context.Context, *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		arrived <- struct{}{}
		<-proceed
		mu.Lock()
		now--
		mu.Unlock()
		return &joinproto.IssueRejoinTicketResponse{StateDiskKey: goodKey, MeasurementSecret: goodSecret}, nil
	})
	endpoints := make(list, 3*maxInFlight)
	for i := range endpoints {
		endpoints[i] = endpoint
	}
	var disk stateDisk
	r := offer(t, endpoints, disk.prove)
	for range maxInFlight {
		<-arrived
	}
	assert.Equal(t, maxInFlight, r.logs.FilterMessage("Requesting rejoin ticket").Len())
	close(proceed)
	r.mustEnd(t)
	assert.Equal(t, maxInFlight, most)
}

func TestGoodEndpointAtTheEndOfALongList(t *testing.T) {
	endpoints := make(list, 200)
	dead := refusing(t)
	for i := range endpoints {
		endpoints[i] = dead
	}
	endpoints[len(endpoints)-1] = service(t, ticket(goodKey, goodSecret))
	var disk stateDisk
	r := offer(t, endpoints, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
	// Black holes take the connect limit each, eight at a time.
	assert.Less(t, production.connect*time.Duration(len(endpoints)/maxInFlight), time.Minute)
}

// changing hands out its lists in turn, then the last for ever.
type changing struct {
	lists [][]string
	err   error
	asked []time.Duration
	start time.Time
}

func (c *changing) JoinEndpoints(context.Context) ([]string, error) {
	c.asked = append(c.asked, time.Since(c.start))
	if len(c.lists) == 0 {
		return nil, c.err
	}
	next := c.lists[0]
	c.lists = c.lists[1:]
	return next, nil
}

func TestListIsFetchedAnewEachRound(t *testing.T) {
	var disk stateDisk
	endpoints := &changing{lists: [][]string{{refusing(t)}, {}, {service(t, ticket(goodKey, goodSecret))}}}
	r := offer(t, endpoints, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
	assert.Len(t, endpoints.asked, 3)
}

func TestPausesBetweenRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		endpoints := &changing{err: errors.New("metadata is down"), start: time.Now()}
		require.NoError(t, New(endpoints, quoting{}, zap.NewNop()).Offer(ctx, testDisk, (&stateDisk{}).prove))
		assert.Equal(t, 10*time.Minute, time.Since(endpoints.start), "the wait ends with the context")

		limit := production.pause
		for i := range len(endpoints.asked) - 1 {
			pause := endpoints.asked[i+1] - endpoints.asked[i]
			assert.GreaterOrEqual(t, pause, limit/2)
			assert.LessOrEqual(t, pause, limit)
			limit = min(2*limit, 30*time.Second)
		}
		assert.Greater(t, len(endpoints.asked), 20)
	})
}

func TestFailingListIsLogged(t *testing.T) {
	r := offer(t, &changing{err: errors.New("metadata is down")}, (&stateDisk{}).prove)
	r.awaitLine(t, "Failed to get list with JoinService endpoints")
	lines := r.logs.FilterMessage("Failed to get list with JoinService endpoints").All()
	assert.Equal(t, zap.WarnLevel, lines[0].Level)
	assert.Equal(t, "metadata is down", lines[0].ContextMap()["error"])
}
