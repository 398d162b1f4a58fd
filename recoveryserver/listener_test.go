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
	capped := &cappedListener{Listener: listener}
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

// quiet is a connection that can only be closed.
type quiet struct {
	net.Conn
	closed bool
}

func (q *quiet) Close() error { q.closed = true; return nil }

func TestAllConnectionsAreCapped(t *testing.T) {
	capped := &cappedListener{}
	var greeted []*cappedConn
	for i := range 2 * maxConns {
		peer := network(&net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i))})
		conn := &cappedConn{Conn: &quiet{}, peer: peer, listener: capped}
		if capped.admit(conn) {
			conn.greet()
			greeted = append(greeted, conn)
		}
	}
	assert.Len(t, greeted, maxConns, "those that have finished their handshake are not evicted")
	assert.Len(t, capped.open, maxConns)
}

func TestTheOldestSilentConnectionMakesRoom(t *testing.T) {
	capped := &cappedListener{}
	peer := network(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)})
	var conns []*quiet
	for range maxConnsPerPeer + 2 {
		raw := &quiet{}
		conns = append(conns, raw)
		require.True(t, capped.admit(&cappedConn{Conn: raw, peer: peer, listener: capped}))
		capped.open[0].greet() // the first has nothing to fear
	}
	var closed []int
	for i, conn := range conns {
		if conn.closed {
			closed = append(closed, i)
		}
	}
	assert.Equal(t, []int{1, 2}, closed)
	assert.Len(t, capped.open, maxConnsPerPeer)
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
