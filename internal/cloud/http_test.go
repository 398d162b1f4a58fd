package cloud

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnswersAreBounded(t *testing.T) {
	cases := map[string]struct {
		size int
		want string
	}{
		"empty":     {size: 0},
		"just fits": {size: MaxAnswer},
		"one more":  {size: MaxAnswer + 1, want: "longer than 1048576 bytes"},
		"much more": {size: 4 * MaxAnswer, want: "longer than 1048576 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(bytes.Repeat([]byte{'a'}, c.size)) // fails where the client has hung up
			}))
			defer server.Close()
			response, err := NewHTTPClient().Get(server.URL)
			require.NoError(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			assert.Len(t, body, min(c.size, MaxAnswer))
			if c.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.want)
			}
		})
	}
}

// TestGet: of an answer that is none there is the status, whatever comes with it.
func TestGet(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata") == "" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write(bytes.Repeat([]byte{'a'}, MaxAnswer+1)) // fails where the client has hung up
	}))
	defer server.Close()
	body, status, err := Get(t.Context(), NewHTTPClient(), server.URL, "", "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Empty(t, body)
	_, status, err = Get(t.Context(), NewHTTPClient(), server.URL, "Metadata", "True")
	require.ErrorContains(t, err, "longer than 1048576 bytes")
	assert.Equal(t, http.StatusOK, status)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/", http.StatusFound))
	defer server.Close()
	response, err := NewHTTPClient().Get(server.URL)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusFound, response.StatusCode)
}

// M4: a proxy in the environment is the host's to write, and gets nothing. The
// environment is read once in a process, so the transport's own setting is looked at.
func TestM4NoProxy(t *testing.T) {
	client := NewHTTPClient()
	assert.Equal(t, CallTimeout, client.Timeout)
	assert.Nil(t, client.Transport.(bounded).RoundTripper.(*http.Transport).Proxy)
}
