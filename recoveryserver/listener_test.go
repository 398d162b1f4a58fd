package recoveryserver

import (
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClosedConnectionMakesRoom(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	capped := &cappedListener{Listener: listener, counts: new(counts)}
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
	peer   net.Addr
	closed bool
}

func (q *quiet) Close() error         { q.closed = true; return nil }
func (q *quiet) RemoteAddr() net.Addr { return q.peer }

// G13, from many addresses: who has more connections gives way to who has fewer.
func TestAFloodGivesWayToAnotherPeer(t *testing.T) {
	listener := &cappedListener{counts: new(counts)}
	operator, raw := come(listener, 255)
	require.NotNil(t, operator)
	for i := range 20 * maxConns {
		_, _ = come(listener, byte(i%250))
		require.LessOrEqual(t, len(listener.open), maxConns)
	}
	assert.False(t, raw.closed, "the operator's only connection, and the oldest of all")
	assert.EqualValues(t, maxConns, listener.counts.open.Load())
	assert.EqualValues(t, 20*maxConns+1-maxConns, listener.counts.refused.Load())
}

func TestWhatWaitsForUsIsNotClosed(t *testing.T) {
	listener := &cappedListener{counts: new(counts)}
	var release []func()
	for range maxConnsPerPeer {
		conn, _ := come(listener, 1)
		release = append(release, conn.hold())
	}
	refused, _ := come(listener, 1)
	require.Nil(t, refused, "all others are in the middle of a proof")
	release[2]()
	admitted, _ := come(listener, 1)
	require.NotNil(t, admitted)
	assert.Len(t, listener.open, maxConnsPerPeer)
}

func TestWhoDidNothingForLongestMakesRoom(t *testing.T) {
	listener := &cappedListener{counts: new(counts)}
	var raws []*quiet
	for range maxConnsPerPeer + 2 {
		conn, raw := come(listener, 1)
		require.NotNil(t, conn)
		raws = append(raws, raw)
		listener.open[slices.IndexFunc(listener.open, func(c *cappedConn) bool { return c.Conn == raws[0] })].progress()
	}
	var closed []int
	for i, raw := range raws {
		if raw.closed {
			closed = append(closed, i)
		}
	}
	assert.Equal(t, []int{1, 2}, closed, "the first kept going")
	assert.Len(t, listener.open, maxConnsPerPeer)
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
