package recoveryserver

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClosedConnectionMakesRoom(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	capped := &cappedListener{Listener: listener, open: make(map[*cappedConn]struct{})}
	t.Cleanup(func() { _ = capped.Close() })
	for range 3 * maxConnsPerPeer {
		client, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		server, err := capped.Accept()
		require.NoError(t, err)
		require.NoError(t, server.Close())
		require.NoError(t, client.Close())
	}
}

func TestAllConnectionsAreCapped(t *testing.T) {
	capped := &cappedListener{open: make(map[*cappedConn]struct{})}
	admitted := 0
	for i := range 2 * maxConns {
		peer := network(&net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i))})
		if capped.admit(&cappedConn{peer: peer, listener: capped}) {
			admitted++
		}
	}
	assert.Equal(t, maxConns, admitted)
}

func TestNetwork(t *testing.T) {
	tests := map[string]struct{ a, b string }{
		"IPv4":             {"192.0.2.1:1", "192.0.2.1:2"},
		"mapped IPv4":      {"192.0.2.1:1", "[::ffff:192.0.2.1]:2"},
		"IPv6, one subnet": {"[2001:db8::1]:1", "[2001:db8::ffff:2]:1"},
		"link-local":       {"[fe80::1%eth0]:1", "[fe80::1%eth1]:1"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, network(textAddr(tc.a)), network(textAddr(tc.b)))
			assert.True(t, network(textAddr(tc.a)).IsValid())
		})
	}
	assert.NotEqual(t, network(textAddr("192.0.2.1:1")), network(textAddr("192.0.2.2:1")))
	assert.NotEqual(t, network(textAddr("[2001:db8::1]:1")), network(textAddr("[2001:db8:0:1::1]:1")))
}

type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }
