package aws

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHostilePlatform does every fault to each of the calls of a round. It ends in
// an error that is short, within the time given; and the first round after the
// platform has healed is good.
func TestHostilePlatform(t *testing.T) {
	elsewhere := fake.Elsewhere(t)
	for _, call := range append(round, resources, balancers) {
		for name, fault := range new(fake.Hostile).Faults(elsewhere) {
			t.Run(call+" "+name, func(t *testing.T) {
				t.Parallel()
				p, client := start(t)
				source := cloud.ControlPlanes(client)
				if call == resources || call == balancers {
					source = cloud.LoadBalancer(client)
				}
				// Self is asked beside, and each try of an API asks for credentials.
				fake.Outlive(t, p.Script, call, fault, source, 2*maxAttempts*maxAttempts)
			})
		}
	}
}

// TestM8OneOfTwoIsBroken: neither look-up needs the other.
func TestM8OneOfTwoIsBroken(t *testing.T) {
	p, client := start(t)
	p.Say(resources, fake.Status(500, ""))
	endpoints, _ := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	assert.NotEmpty(t, endpoints)

	p, client = start(t)
	p.Say(list, fake.Status(500, ""))
	endpoints, err := cloud.LoadBalancer(client).JoinEndpoints(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, endpoints)
}

// TestM5ManyParts: an answer within its limit, of instances that are nothing but an
// element each, would take 100 times as much in memory.
func TestM5ManyParts(t *testing.T) {
	for name, tc := range map[string]struct {
		call, before, part, after string
	}{
		"instances":      {list, "<DescribeInstancesResponse><reservationSet><item><instancesSet>", "<item/>", "</instancesSet></item></reservationSet></DescribeInstancesResponse>"},
		"in another way": {list, "<DescribeInstancesResponse><reservationSet><item><instancesSet>", "<x:ITEM/>", "</instancesSet></item></reservationSet></DescribeInstancesResponse>"},
		"load balancers": {balancers, "<DescribeLoadBalancersResponse><DescribeLoadBalancersResult><LoadBalancers>", "<member/>", "</LoadBalancers></DescribeLoadBalancersResult></DescribeLoadBalancersResponse>"},
		"resources":      {resources, `{"ResourceTagMappingList":[{}`, ",{}", "]}"},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t)
			p.Say(tc.call, fake.Text(tc.before+strings.Repeat(tc.part, maxParts+1)+tc.after))
			_, err := client.Nodes(t.Context())
			if err == nil {
				_, err = client.LoadBalancer(t.Context())
			}
			for errors.Unwrap(err) != nil { // from what is cut to a length
				err = errors.Unwrap(err)
			}
			require.ErrorContains(t, err, "parts, want at most 20000")
		})
	}
}

// TestCallsAtOnce share one login; run with -race.
func TestCallsAtOnce(t *testing.T) {
	p, client := start(t)
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() { _, err := client.Self(t.Context()); assert.NoError(t, err) })
		calls.Go(func() { _, err := client.Nodes(t.Context()); assert.NoError(t, err) })
		calls.Go(func() { _, err := client.LoadBalancer(t.Context()); assert.NoError(t, err) })
	}
	calls.Wait()
	assert.Equal(t, 1, p.Count(describe))
}

// FuzzAnswers reads one body as the answer to one of the calls: whatever it says,
// nothing crashes, and what comes of it is bounded.
func FuzzAnswers(f *testing.F) {
	calls := append(round, resources, balancers)
	for i, seed := range []string{
		"a-token", fake.Read("identity.json"), "node", fake.Read("credentials.json"),
		fake.Read("self.xml"), fake.Read("page2.xml"), fake.Read("resources2.json"), fake.Read("balancers.xml"),
	} {
		f.Add(uint8(i), []byte(seed))
	}
	for i, seed := range []string{"", "null", "{}", "<a/>", "<DescribeInstancesResponse><reservationSet><item><instancesSet><item/></instancesSet></item></reservationSet></DescribeInstancesResponse>"} {
		f.Add(uint8(i), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, call uint8, raw []byte) {
		p, client := fuzzed(t, calls[int(call)%len(calls)], raw)
		client.http.Transport = fake.InMemory{Handler: p}
		fake.AssertBounded(t, client)
	})
}

// fuzzed is a platform that says raw to call, and takes calls of whatever follows
// from that.
func fuzzed(t *testing.T, call string, raw []byte) (*platform, *Client) {
	p := newPlatform(fake.Quiet{TB: t})
	p.Say(call, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) })
	return p, newClient("http://platform.example")
}
