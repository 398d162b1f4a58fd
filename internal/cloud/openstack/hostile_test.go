package openstack

import (
	"net/http"
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
	for _, call := range round {
		for name, fault := range new(fake.Hostile).Faults(elsewhere) {
			t.Run(call+" "+name, func(t *testing.T) {
				t.Parallel()
				p, client := start(t)
				// Self is asked beside; nobody tries again before he may.
				fake.Outlive(t, p.Script, call, fault, cloud.ControlPlanes(client), 2)
			})
		}
	}
}

// TestM8OneOfTwoIsBroken: neither look-up needs the other.
func TestM8OneOfTwoIsBroken(t *testing.T) {
	p, client := start(t)
	p.Say(userDataOf, p.edited("user_data.json", "203.0.113.7", ""))
	endpoints, _ := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	assert.NotEmpty(t, endpoints)

	p, client = start(t)
	p.Say(login, fake.Status(500, ""))
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
	assert.Equal(t, 1, p.Count(login))
}

// FuzzAnswers reads one body as the answer to one of the calls: whatever it says,
// nothing crashes, and what comes of it is bounded.
func FuzzAnswers(f *testing.F) {
	calls := round
	for i, name := range []string{"meta_data.json", "user_data.json", "token.json", "networks.json", "subnets.json", "servers2.json"} {
		f.Add(uint8(i), []byte(fake.Read(name)))
	}
	for i, seed := range []string{"", "null", "{}", `{"servers":[{"addresses":{"":null}}]}`, `{"token":{"catalog":[{"type":"compute","endpoints":[{}]}]}}`} {
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
	p.Say(call, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Subject-Token", "a-token")
		w.WriteHeader(map[bool]int{true: http.StatusCreated, false: http.StatusOK}[call == login])
		_, _ = w.Write(raw)
	})
	return p, newClient(p.URL)
}
