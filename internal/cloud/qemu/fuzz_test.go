package qemu

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"disk-mapper/internal/cloud"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answers serves the same body at each path, without a network.
type answers []byte

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	_, _ = w.Write(a)
	response := w.Result()
	response.Request = r
	return response, nil
}

// FuzzMetadata reads one body as each of the three answers: whatever it says, the
// endpoints are bounded and can be dialed.
func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		record, "[" + record + "]", good, `"10.42.0.1"`, `null`, `[]`, `{}`, `""`, `[null]`, `<html>`, `[{"Role":1}]`,
		`{"Name":"x","VPCIP":"::ffff:10.0.0.1"}`, `[{"role":"control-plane","vpcip":"10.42.1.9"}]`, `"lb.example.org"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		client := New(MetadataURL)
		client.http.Transport = answers(raw)
		for _, source := range []cloud.Source{cloud.ControlPlanes(client), cloud.LoadBalancer(client)} {
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
	})
}
