package qemu

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"
	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostile is a metadata service that does fault until it is healed.
type hostile struct {
	fault   http.HandlerFunc
	healed  atomic.Bool
	written atomic.Int64
	calls   atomic.Int32
}

const good = `[{"Name":"a","Role":"ControlPlane","VPCIP":"10.42.1.101"}]`

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.calls.Add(1)
	switch {
	case r.URL.Path == "/self":
		_, _ = io.WriteString(w, record)
	case !h.healed.Load():
		h.fault(w, r)
	case r.URL.Path == "/endpoint":
		_, _ = io.WriteString(w, `"10.42.0.1"`)
	default:
		_, _ = io.WriteString(w, good)
	}
}

// flood writes for ever, or n bytes, and counts what the client has taken.
func (h *hostile) flood(w io.Writer, n int64, chunk string) {
	for sent := int64(0); sent < n; {
		wrote, err := io.WriteString(w, chunk)
		sent += int64(wrote)
		h.written.Add(int64(wrote))
		if err != nil {
			return
		}
	}
}

func start(t *testing.T, h *hostile) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(server.Close)
	client := New(server.URL)
	client.http.Timeout = 0 // what is said is the matter: a slow machine must not decide
	return client
}

// faults are the rows M1 to M10 as far as they are HTTP; each ends in a bounded
// error, and the next call after the service has healed is good.
func faults(h *hostile, elsewhere string) map[string]http.HandlerFunc {
	text := func(s string) http.HandlerFunc { return body(s) }
	to := func(url string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", url); w.WriteHeader(302) }
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "1"); w.WriteHeader(code) }
	}
	return map[string]http.HandlerFunc{
		"M1 garbage":   text("\x00\xff\x17garbage"),
		"M1 HTML":      text("<!DOCTYPE html><html></html>"),
		"M1 truncated": text(good[:len(good)-4]),
		"M2 1 GiB announced": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<30))
			h.flood(w, 1<<30, strings.Repeat("[", 32<<10))
		},
		"M2 endless chunks": func(w http.ResponseWriter, _ *http.Request) { h.flood(w, 1<<40, strings.Repeat(" ", 32<<10)) },
		"M2 endless array": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "[")
			h.flood(w, 1<<40, strings.Repeat(good[1:len(good)-1]+",", 500))
		},
		"M3 a byte at a time":          fake.Trickle,
		"M3 never":                     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"M4 to another host":           to(elsewhere),
		"M4 to a file":                 to("file:///etc/passwd"),
		"M4 to gopher":                 to("gopher://127.0.0.1/x"),
		"M4 to link-local":             to("http://[fe80::1%25lo]/peers"),
		"M4 to the metadata of others": to("http://169.254.169.254/latest"),
		"M10 500":                      status(500),
		"M10 503":                      status(503),
		"M10 429":                      status(429),
		"M10 hangs up":                 func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
}

func TestHostileMetadata(t *testing.T) {
	elsewhere := fake.Elsewhere(t)
	for name := range faults(nil, "") {
		t.Run(name, func(t *testing.T) {
			h := &hostile{}
			h.fault = faults(h, elsewhere)[name]
			client := start(t, h)
			if strings.HasPrefix(name, "M3") { // all of them end in an error, whatever else is slow
				client.http.Timeout = 300 * time.Millisecond
			}
			for _, source := range []cloud.Source{cloud.ControlPlanes(client), cloud.LoadBalancer(client)} {
				for range 3 { // it goes on being asked
					endpoints, err := source.JoinEndpoints(t.Context())
					require.Error(t, err)
					assert.Empty(t, endpoints)
					assert.Less(t, len(err.Error()), printable.MaxError+100)
				}
			}
			assert.Less(t, h.written.Load(), int64(6*16<<20), "what the sockets hold beyond the limit")
			h.healed.Store(true)
			client.http.Timeout = 0
			endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []string{"10.42.1.101:30090"}, endpoints)
		})
	}
}

// M5: 200,000 instances are more than the longest answer that is read; as many as
// fit are cut to the limit.
func TestM5ManyInstances(t *testing.T) {
	many := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"Role":"ControlPlane","VPCIP":"10.%d.%d.%d"}`, i>>16, i>>8&255, i&255))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	h := &hostile{fault: body(many(200_000))}
	client := start(t, h)
	_, err := client.Nodes(t.Context())
	require.ErrorContains(t, err, "longer than 1048576 bytes")

	h = &hostile{fault: body(many(20_000))}
	client = start(t, h)
	endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	require.NoError(t, err)
	assert.Len(t, endpoints, cloud.MaxEndpoints)
}

// M6, M7: what is no address of another control-plane node is left out, and said.
func TestM6AndM7UnusableInstances(t *testing.T) {
	var all []string
	for _, ip := range []string{
		"", "0.0.0.0", "::", "169.254.169.254", "127.0.0.1", "node.example.org", "10.42.1.9:80", "fe80::1%eth0", `10.42.1.9\n10.42.1.8`,
		"10.42.1.100", "10.42.1.101", "10.42.1.101",
	} {
		all = append(all, `{"Name":"x","Role":"ControlPlane","VPCIP":"`+ip+`"}`)
	}
	for _, role := range []string{"Worker", "admin", ""} {
		all = append(all, `{"Name":"x","Role":"`+role+`","VPCIP":"10.42.1.102"}`)
	}
	endpoints, err := cloud.ControlPlanes(start(t, &hostile{fault: body("[" + strings.Join(all, ",") + "]")})).JoinEndpoints(t.Context())
	require.ErrorIs(t, err, cloud.ErrHost)
	assert.Equal(t, []string{"10.42.1.101:30090"}, endpoints)
}

// M8: the load balancer is empty or broken while the list is good, and the
// reverse: the one that is good is used.
func TestM8OneOfTwoIsBroken(t *testing.T) {
	for name, tc := range map[string]struct {
		endpoint, peers http.HandlerFunc
		want            string
	}{
		"no load balancer":       {body(`""`), body(good), "10.42.1.101:30090"},
		"load balancer is a 500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, body(good), "10.42.1.101:30090"},
		"no list":                {body(`"10.42.0.1"`), body("<html>"), "10.42.0.1:30090"},
		"empty list":             {body(`"10.42.0.1"`), body("[]"), "10.42.0.1:30090"},
	} {
		t.Run(name, func(t *testing.T) {
			client := service(t, map[string]http.HandlerFunc{"/self": body(record), "/endpoint": tc.endpoint, "/peers": tc.peers})
			nodes, nodesErr := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
			balancer, balancerErr := cloud.LoadBalancer(client).JoinEndpoints(t.Context())
			assert.Equal(t, []string{tc.want}, append(nodes, balancer...))
			assert.True(t, nodesErr == nil || balancerErr == nil, "%v, %v", nodesErr, balancerErr)
		})
	}
}

// M9: what is said on one call does not stick to the next.
func TestM9AnswerChangesOnEveryCall(t *testing.T) {
	var n atomic.Int32
	client := start(t, &hostile{fault: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `[{"Role":"ControlPlane","VPCIP":"10.42.3.%d"}]`, n.Add(1))
	}})
	for i := range 20 {
		endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{fmt.Sprintf("10.42.3.%d:30090", i+1)}, endpoints)
	}
}

// TestNothingStaysOpen: calls that fail in every way leave no descriptor and no
// goroutine behind.
func TestNothingStaysOpen(t *testing.T) {
	before := openFiles()
	func() {
		h := &hostile{fault: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
		server := httptest.NewServer(h)
		defer server.Close()
		client := New(server.URL)
		client.http.Timeout = 50 * time.Millisecond
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() { _, _ = cloud.ControlPlanes(client).JoinEndpoints(context.Background()) })
		}
		asking.Wait()
	}()
	stacks := make([]byte, 1<<20)
	assert.Eventually(t, func() bool {
		return openFiles() <= before && !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "cloud.begin")
	}, 5*time.Second, 5*time.Millisecond)
}

func openFiles() int {
	open, _ := os.ReadDir("/proc/self/fd")
	return len(open)
}

// M3 at the level of TCP: the connection is made and nothing is said.
func TestM3SilentSocket(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	client := New("http://" + listener.Addr().String())
	client.http.Timeout = 50 * time.Millisecond
	_, err = client.Self(t.Context())
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
