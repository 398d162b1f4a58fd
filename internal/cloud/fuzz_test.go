package cloud

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"10.42.0.1", "lb.example.org", "127.0.0.1", "fe80::1%x", "a:b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		host, err := parseHost(in)
		if err != nil {
			return
		}
		again, err := parseHost(host)
		require.NoError(t, err)
		assert.Equal(t, host, again)
		assert.NotContains(t, host, "%")
	})
}

// FuzzParseEndpoints: what is accepted is few, can be dialed, and says the same
// when it is read again.
func FuzzParseEndpoints(f *testing.F) {
	for _, seed := range []string{"10.42.0.1", "lb.example.org:443,10.0.0.1", "[2001:db8::1]:1,2001:db8::2", ",", "a:0", "127.0.0.1:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, words string) {
		source, err := ParseEndpoints(words)
		if err != nil {
			return
		}
		list, err := source.JoinEndpoints(t.Context())
		require.NoError(t, err)
		assert.NotEmpty(t, list)
		assert.LessOrEqual(t, len(list), MaxStatic)
		for _, endpoint := range list {
			host, _, err := net.SplitHostPort(endpoint)
			require.NoError(t, err)
			_, err = parseHost(host)
			require.NoError(t, err)
			again, err := parseEndpoint(endpoint)
			require.NoError(t, err)
			assert.Equal(t, endpoint, again)
		}
	})
}
