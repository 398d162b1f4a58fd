package metadata

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"disk-mapper/internal/cloud"

	"github.com/stretchr/testify/assert"
)

var network = Network{
	Nodes: []cloud.Instance{
		{Name: "control-plane-0", ProviderID: "qemu:///hostname/control-plane-0", Role: cloud.ControlPlane, VPCIP: "10.42.1.100"},
		{Name: "worker-0", ProviderID: "qemu:///hostname/worker-0", Role: cloud.Worker, VPCIP: "10.42.2.100"},
	},
	Endpoint:       "10.42.1.100",
	InitSecretHash: []byte("raw\x00bytes"),
}

const (
	controlPlane = `{"Name":"control-plane-0","ProviderID":"qemu:///hostname/control-plane-0","Role":"ControlPlane",` +
		`"VPCIP":"10.42.1.100","SecondaryIPRange":"","AliasIPRanges":null}`
	worker = `{"Name":"worker-0","ProviderID":"qemu:///hostname/worker-0","Role":"Worker",` +
		`"VPCIP":"10.42.2.100","SecondaryIPRange":"","AliasIPRanges":null}`
)

func TestHandler(t *testing.T) {
	tests := map[string]struct {
		network    Network
		path, from string
		status     int
		body       string
	}{
		"self by address":          {network, "/self", "10.42.2.100:1", 200, worker},
		"self through the host":    {network, "/self", "127.0.0.1:1", 200, controlPlane},
		"self unknown":             {network, "/self", "10.42.9.9:1", 404, "No matching peer found"},
		"self in an empty network": {Network{}, "/self", "127.0.0.1:1", 404, "No matching peer found"},
		"peers":                    {network, "/peers", "10.42.9.9:1", 200, "[" + controlPlane + "," + worker + "]"},
		"no peers":                 {Network{}, "/peers", "10.42.9.9:1", 200, "null"},
		"endpoint":                 {network, "/endpoint", "10.42.9.9:1", 200, `"10.42.1.100"`},
		"no endpoint":              {Network{}, "/endpoint", "10.42.9.9:1", 404, "No control plane found"},
		"init secret hash":         {network, "/initsecrethash", "10.42.9.9:1", 200, "raw\x00bytes"},
		"another path":             {network, "/metadata", "10.42.9.9:1", 404, "404 page not found"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tc.path, nil)
			request.RemoteAddr = tc.from
			response := httptest.NewRecorder()
			tc.network.Handler().ServeHTTP(response, request)
			assert.Equal(t, tc.status, response.Code)
			assert.Equal(t, tc.body, strings.TrimRight(response.Body.String(), "\n"))
		})
	}
}

func TestPosts(t *testing.T) {
	var posts strings.Builder
	service := Network{Posts: &posts}.Handler()
	for _, path := range []string{"/log", "/pcrs"} {
		response := httptest.NewRecorder()
		service.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader("said to "+path)))
		assert.Equal(t, http.StatusOK, response.Code)
	}
	assert.Equal(t, "said to /log\nsaid to /pcrs\n", posts.String())
}
