package qemu

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/cloud"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The published example record, with members that we do not read.
const record = `{"Name":"control-plane-0","ProviderID":"qemu:///hostname/control-plane-0","Role":"ControlPlane","VPCIP":"10.42.1.100","SecondaryIPRange":"","AliasIPRanges":null}`

// service answers each path with its status and body, anything else with 404.
func service(t *testing.T, answers map[string]http.HandlerFunc) *Client {
	mux := http.NewServeMux()
	for path, answer := range answers {
		mux.HandleFunc("GET "+path, answer)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return New(server.URL)
}

func body(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, text) }
}

func TestMetadata(t *testing.T) {
	client := service(t, map[string]http.HandlerFunc{
		"/self":     body(record),
		"/peers":    body("[" + record + `,{"Name":"worker-0","Role":"worker","VPCIP":"10.42.2.100"}]`),
		"/endpoint": body(`"10.42.1.100"`),
	})
	want := cloud.Instance{
		Name: "control-plane-0", ProviderID: "qemu:///hostname/control-plane-0",
		Role: cloud.ControlPlane, VPCIP: "10.42.1.100",
	}

	self, err := client.Self(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, self)

	nodes, err := client.Nodes(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []cloud.Instance{want, {Name: "worker-0", Role: cloud.Worker, VPCIP: "10.42.2.100"}}, nodes)

	host, err := client.LoadBalancer(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "10.42.1.100", host)
}

func TestNobodyAsPeers(t *testing.T) {
	nodes, err := service(t, map[string]http.HandlerFunc{"/peers": body("null")}).Nodes(t.Context())
	require.NoError(t, err)
	assert.Empty(t, nodes)
}

func TestServiceWithoutEndpoint(t *testing.T) {
	_, err := service(t, nil).LoadBalancer(t.Context())
	require.ErrorIs(t, err, cloud.ErrUnsupported)

	_, err = service(t, nil).Self(t.Context())
	require.ErrorContains(t, err, "status 404")
	require.NotErrorIs(t, err, cloud.ErrUnsupported)
}

func TestHostileAnswers(t *testing.T) {
	elsewhere := httptest.NewServer(body(record))
	t.Cleanup(elsewhere.Close)
	tests := map[string]struct {
		answer  http.HandlerFunc
		wantErr string
	}{
		"garbage":          {body("<html>"), "invalid character"},
		"truncated":        {body(record[:40]), "unexpected end"},
		"trailing data":    {body(record + record), "after top-level value"},
		"other type":       {body("[]"), "cannot unmarshal"},
		"role is a number": {body(`{"Name":"x","Role":1}`), "cannot unmarshal"},
		"nothing":          {body(""), "unexpected end"},
		"null":             {body("null"), "describes no node"},
		"empty record":     {body("{}"), "describes no node"},
		"nested":           {body(strings.Repeat("[", cloud.MaxAnswer)), "exceeded max depth"},
		"server error":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "status 503"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		}, "status 302"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := make([]byte, 64<<10)
			for {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "longer than 1048576 bytes"},
		"endless headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 128<<10))
		}, "exceeded"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := service(t, map[string]http.HandlerFunc{"/self": tc.answer}).Self(t.Context())
			require.ErrorContains(t, err, tc.wantErr)
		})
	}
}

func TestSilentService(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = New("http://" + listener.Addr().String()).Self(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
