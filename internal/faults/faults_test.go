package faults

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Nothing of this may be turned on somebody else.
func TestLoopbackOnly(t *testing.T) {
	for _, address := range []string{"192.0.2.1:9999", "[2001:db8::1]:9999", "0.0.0.0:9999", "node.example.org:9999", ""} {
		_, err := Dial(t.Context(), address, "127.0.0.1")
		require.ErrorIs(t, err, errNotLoopback, address)
	}
}

func TestSourcesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, source := range Sources(1000) {
		require.True(t, net.ParseIP(source).IsLoopback(), source)
		seen[source] = true
	}
	assert.Len(t, seen, 1000)
}
