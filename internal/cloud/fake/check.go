package fake

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/cloud"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// AssertDocumented: the page about platforms asks for these permissions of one, and
// for no other.
func AssertDocumented(t *testing.T, platform string, permissions ...string) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/platforms.md")
	require.NoError(t, err)
	row := "| " + platform + " | `"
	for _, permission := range permissions {
		assert.Contains(t, string(page), row+permission+"` |")
	}
	assert.Equal(t, len(permissions), strings.Count(string(page), row))
}

// AssertEveryCallEnds: what a client is asked ends with cloud.SDKTimeout.
func AssertEveryCallEnds(t *testing.T, client *http.Client, ask func() error) {
	t.Helper()
	client.Timeout = 0 // whose deadline would hide the one that is looked for
	watch := &deadlines{RoundTripper: client.Transport, latest: time.Now().Add(cloud.SDKTimeout + time.Minute)}
	client.Transport = watch
	require.NoError(t, ask())
	assert.NotZero(t, watch.seen)
	assert.Zero(t, watch.missing)
}

type deadlines struct {
	http.RoundTripper
	latest        time.Time
	seen, missing int
}

func (d *deadlines) RoundTrip(r *http.Request) (*http.Response, error) {
	d.seen++
	if by, ok := r.Context().Deadline(); !ok || by.After(d.latest) {
		d.missing++
	}
	return d.RoundTripper.RoundTrip(r)
}

// AssertBounded: whatever a platform says, what comes of it is bounded, and can be
// dialed.
func AssertBounded(t *testing.T, platform cloud.Metadata) {
	t.Helper()
	for _, source := range []cloud.Source{cloud.ControlPlanes(platform), cloud.LoadBalancer(platform)} {
		endpoints, err := source.JoinEndpoints(t.Context())
		assert.LessOrEqual(t, len(endpoints), cloud.MaxEndpoints)
		if err != nil {
			assert.Less(t, len(err.Error()), 2000)
		}
		for _, endpoint := range endpoints {
			host, port, err := net.SplitHostPort(endpoint)
			require.NoError(t, err)
			assert.NotEmpty(t, host)
			assert.Equal(t, cloud.JoinServicePort, port)
		}
	}
}

// Elsewhere is the address of a server that fails the test when somebody comes.
func Elsewhere(t *testing.T) string {
	var visits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	t.Cleanup(func() { assert.Zero(t, visits.Load(), "nobody follows a redirect (M4), or the environment") })
	t.Cleanup(server.Close)
	return server.URL
}

// InMemory is a service without a network.
type InMemory struct{ http.Handler }

// RoundTrip has the service answer.
func (m InMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = io.NopCloser(bytes.NewReader(nil))
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	response := w.Result()
	response.Request = r
	return response, nil
}

// Quiet is a test that does not mind calls nobody expects.
type Quiet struct{ testing.TB }

// Errorf says nothing.
func (Quiet) Errorf(string, ...any) {}

// Rounds measures rounds of one Self and one Nodes, and counts their calls.
func Rounds(b *testing.B, s *Script, client func() cloud.Metadata) {
	for b.Loop() {
		c := client()
		_, selfErr := c.Self(b.Context())
		_, nodesErr := c.Nodes(b.Context())
		require.NoError(b, selfErr)
		require.NoError(b, nodesErr)
	}
	b.ReportMetric(float64(len(s.Calls()))/float64(b.N), "calls/op")
}
