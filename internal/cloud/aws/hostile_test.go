package aws

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHostilePlatform does every fault to each of the calls of a round. It ends in
// an error that is short, within the time given; and the first round after the
// platform has healed is good.
func TestHostilePlatform(t *testing.T) {
	elsewhere := visited(t)
	for _, call := range append(round, resources, balancers) {
		for name, fault := range new(fake.Hostile).Faults(elsewhere.URL) {
			t.Run(call+" "+name, func(t *testing.T) {
				t.Parallel()
				p, client := start(t)
				good := p.answers[call]
				p.answer(call, fault.Answer)
				source := cloud.ControlPlanes(client)
				if call == resources || call == balancers {
					source = cloud.LoadBalancer(client)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				endpoints, err := source.JoinEndpoints(ctx)
				require.Error(t, err)
				assert.Empty(t, endpoints)
				assert.Less(t, len(err.Error()), 1000)
				assert.LessOrEqual(t, p.count(call), 2*maxAttempts*maxAttempts, "Self is asked beside; each try of an API asks for credentials")

				p.answer(call, good)
				endpoints, _ = source.JoinEndpoints(t.Context())
				assert.NotEmpty(t, endpoints)
			})
		}
	}
}

// visited is a server that fails the test when somebody comes.
func visited(t *testing.T) *httptest.Server {
	var visits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	t.Cleanup(func() { assert.Zero(t, visits.Load(), "M4: nobody follows a redirect") })
	t.Cleanup(server.Close)
	return server
}

// TestM8OneOfTwoIsBroken: neither look-up needs the other.
func TestM8OneOfTwoIsBroken(t *testing.T) {
	p, client := start(t)
	p.answer(resources, status(500, "X", "", ""))
	endpoints, _ := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	assert.NotEmpty(t, endpoints)

	p, client = start(t)
	p.answer(list, status(500, "X", "", ""))
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
			p.answer(tc.call, text(tc.before+strings.Repeat(tc.part, maxParts+1)+tc.after))
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
	assert.Equal(t, 1, p.count(describe))
}

// inMemory is the platform without a network.
type inMemory struct{ *platform }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = io.NopCloser(bytes.NewReader(nil))
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	response := w.Result()
	response.Request = r
	return response, nil
}

// FuzzAnswers reads one body as the answer to one of the calls: whatever it says,
// nothing crashes, and what comes of it is bounded.
func FuzzAnswers(f *testing.F) {
	calls := append(round, resources, balancers)
	for i, seed := range []string{
		"a-token", file("identity.json"), "node", file("credentials.json"),
		file("self.xml"), file("page2.xml"), file("resources2.json"), file("balancers.xml"),
	} {
		f.Add(uint8(i), []byte(seed))
	}
	for i, seed := range []string{"", "null", "{}", "<a/>", "<DescribeInstancesResponse><reservationSet><item><instancesSet><item/></instancesSet></item></reservationSet></DescribeInstancesResponse>"} {
		f.Add(uint8(i), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, call uint8, raw []byte) {
		p, client := fuzzed(t, calls[int(call)%len(calls)], raw)
		client.http.Transport = inMemory{p}
		for _, source := range []cloud.Source{cloud.ControlPlanes(client), cloud.LoadBalancer(client)} {
			endpoints, err := source.JoinEndpoints(t.Context())
			assert.LessOrEqual(t, len(endpoints), cloud.MaxEndpoints)
			if err != nil {
				assert.Less(t, len(err.Error()), 2000)
			}
			for _, endpoint := range endpoints {
				_, port, err := net.SplitHostPort(endpoint)
				require.NoError(t, err)
				assert.Equal(t, cloud.JoinServicePort, port)
			}
		}
	})
}

// fuzzed is a platform that says raw to call, and takes calls of whatever follows
// from that.
func fuzzed(t *testing.T, call string, raw []byte) (*platform, *Client) {
	p := newPlatform(quiet{t})
	p.answer(call, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) })
	return p, newClient("http://platform.example")
}

// quiet is a test that does not mind calls nobody expects.
type quiet struct{ testing.TB }

func (quiet) Errorf(string, ...any) {}
