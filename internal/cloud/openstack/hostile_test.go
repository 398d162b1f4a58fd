package openstack

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
	for _, call := range round {
		for name, fault := range new(fake.Hostile).Faults(elsewhere.URL) {
			t.Run(call+" "+name, func(t *testing.T) {
				t.Parallel()
				p, client := start(t)
				good := p.answers[call]
				p.answer(call, fault.Answer)
				source := cloud.ControlPlanes(client)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				endpoints, err := source.JoinEndpoints(ctx)
				require.Error(t, err)
				assert.Empty(t, endpoints)
				assert.Less(t, len(err.Error()), 1000)
				assert.LessOrEqual(t, p.count(call), 2, "Self is asked beside; nobody tries again before he may")

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
	p.answer(userDataOf, p.edited("user_data.json", "203.0.113.7", ""))
	endpoints, _ := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	assert.NotEmpty(t, endpoints)

	p, client = start(t)
	p.answer(login, answered(500, "X", ""))
	endpoints, err := cloud.LoadBalancer(client).JoinEndpoints(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, endpoints)
}

// TestCallsAtOnce share one login; run with -race.
func TestCallsAtOnce(t *testing.T) {
	p, client := start(t)
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() { _, err := client.Self(t.Context()); assert.NoError(t, err) })
		calls.Go(func() { _, err := client.Nodes(t.Context()); assert.NoError(t, err) })
	}
	calls.Wait()
	assert.Equal(t, 1, p.count(login))
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
	calls := round
	for i, name := range []string{"meta_data.json", "user_data.json", "token.json", "networks.json", "subnets.json", "servers2.json"} {
		f.Add(uint8(i), []byte(file(name)))
	}
	for i, seed := range []string{"", "null", "{}", `{"servers":[{"addresses":{"":null}}]}`, `{"token":{"catalog":[{"type":"compute","endpoints":[{}]}]}}`} {
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
	p.answer(call, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Subject-Token", "a-token")
		w.WriteHeader(map[bool]int{true: http.StatusCreated, false: http.StatusOK}[call == login])
		_, _ = w.Write(raw)
	})
	return p, newClient(p.URL)
}

// quiet is a test that does not mind calls nobody expects.
type quiet struct{ testing.TB }

func (quiet) Errorf(string, ...any) {}
