package fairlistener

import (
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClosedConnectionMakesRoom(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	capped := New(listener, testLimits)
	t.Cleanup(func() { _ = capped.Close() })
	for range 3 * testLimits.PerNetwork {
		client, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		server, err := capped.Accept()
		require.NoError(t, err)
		require.NoError(t, server.Close())
		require.NoError(t, client.Close())
	}
}

var testLimits = Limits{Conns: 256, PerNetwork: 8, Waiting: maxWaiting}

// come makes a connection from one of many addresses.
func come(l *Listener, host byte) (*Conn, *quiet) {
	return comeFrom(l, &net.TCPAddr{IP: net.IPv4(192, 0, 2, host)})
}

func comeFrom(l *Listener, peer net.Addr) (*Conn, *quiet) {
	raw := &quiet{peer: peer}
	conn := l.admit(raw)
	if conn != nil {
		conn.makeRoom()
	}
	return conn, raw
}

// quiet is a connection that can only be closed.
type quiet struct {
	net.Conn
	peer   net.Addr
	closed bool
}

func (q *quiet) Close() error                    { q.closed = true; return nil }
func (q *quiet) SetDeadline(time.Time) error     { return nil }
func (q *quiet) SetReadDeadline(time.Time) error { return nil }
func (q *quiet) Read([]byte) (int, error)        { return 0, os.ErrDeadlineExceeded }
func (q *quiet) RemoteAddr() net.Addr            { return q.peer }

// G13, from many addresses: who has more connections gives way to who has fewer.
func TestAFloodGivesWayToAnotherPeer(t *testing.T) {
	listener := New(nil, testLimits)
	operator, raw := come(listener, 255)
	require.NotNil(t, operator)
	for i := range 20 * testLimits.Conns {
		_, _ = come(listener, byte(i%250))
		require.LessOrEqual(t, len(listener.open), testLimits.Conns)
	}
	assert.False(t, raw.closed, "the operator's only connection, and the oldest of all")
	open, refused := listener.Counts()
	assert.Equal(t, testLimits.Conns, open)
	assert.Equal(t, 20*testLimits.Conns+1-testLimits.Conns, refused)
}

func TestWhatWaitsForUsIsNotClosed(t *testing.T) {
	listener := New(nil, testLimits)
	var release []func()
	for range testLimits.PerNetwork {
		conn, _ := come(listener, 1)
		release = append(release, conn.Hold())
	}
	refused, _ := come(listener, 1)
	require.Nil(t, refused, "all others are in the middle of a proof")
	release[2]()
	admitted, _ := come(listener, 1)
	require.NotNil(t, admitted)
	assert.Len(t, listener.open, testLimits.PerNetwork)
}

func TestWhoDidNothingForLongestMakesRoom(t *testing.T) {
	listener := New(nil, testLimits)
	var raws []*quiet
	for range testLimits.PerNetwork + 2 {
		conn, raw := come(listener, 1)
		require.NotNil(t, conn)
		raws = append(raws, raw)
		listener.open[slices.IndexFunc(listener.open, func(c *Conn) bool { return c.Conn == raws[0] })].Progress()
	}
	var closed []int
	for i, raw := range raws {
		if raw.closed {
			closed = append(closed, i)
		}
	}
	assert.Equal(t, []int{1, 2}, closed, "the first kept going")
	assert.Len(t, listener.open, testLimits.PerNetwork)
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
			assert.Equal(t, NetworkOf(textAddr(tc.a)), NetworkOf(textAddr(tc.b)))
			assert.True(t, NetworkOf(textAddr(tc.a)).Widest().IsValid())
		})
	}
	for name, tc := range map[string]struct {
		a, b   string
		common int // sizes, from the widest on, that are the same
	}{
		"IPv4":            {"192.0.2.1:1", "192.0.2.2:1", 0},
		"IPv6, one /56":   {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", 2},
		"IPv6, one /48":   {"[2001:db8::1]:1", "[2001:db8:0:100::1]:1", 1},
		"IPv6, two /48":   {"[2001:db8::1]:1", "[2001:db8:1::1]:1", 0},
		"translated IPv4": {"[64:ff9b::192.0.2.1]:1", "[64:ff9b::192.0.2.2]:1", 0},
		"not an address":  {"@", "192.0.2.1:1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := NetworkOf(textAddr(tc.a)), NetworkOf(textAddr(tc.b))
			for level := range levels {
				assert.Equal(t, level < tc.common, a[level] == b[level], "%v %v", a, b)
			}
		})
	}
	assert.Equal(t, NetworkOf(textAddr("192.0.2.1:1")), NetworkOf(textAddr("[64:ff9b::192.0.2.1]:1")))
}

type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }

// One IPv6 /48 is one neighbourhood: all its 65,536 networks together have what an
// IPv4 address has, and share it fairly.
func TestASwarmOfIPv6HasTheShareOfOne(t *testing.T) {
	listener := New(nil, testLimits)
	node, raw := comeFrom(listener, textAddr("[2001:db8:9::1]:1"))
	require.NotNil(t, node)
	neighbour, near := comeFrom(listener, textAddr("[2001:db8:0:ff00::1]:1")) // the same /48
	require.NotNil(t, neighbour)
	for i := range 2000 {
		_, _ = comeFrom(listener, textAddr(fmt.Sprintf("[2001:db8:0:%x::1]:1", i%0x100)))
	}
	assert.False(t, raw.closed)
	assert.False(t, near.closed, "another /56 has less than the swarm's")
	assert.Len(t, listener.open, 1+testLimits.PerNetwork)
}

// Who has proven something is never closed for who has not, and counts for nobody's
// share.
func TestTrustedConnectionsStay(t *testing.T) {
	listener := New(nil, testLimits)
	var raws []*quiet
	for range 3 * testLimits.PerNetwork {
		conn, raw := come(listener, 1)
		require.NotNil(t, conn)
		conn.Trust()
		raws = append(raws, raw)
		for _, queue := range []*Queue{listener.hellos, listener.quotes, listener.large} {
			require.True(t, queue.proven[conn.network], "its next one goes before strangers")
		}
	}
	for i := range 20 * testLimits.Conns {
		_, _ = come(listener, byte(i%250))
	}
	for _, raw := range raws {
		require.False(t, raw.closed)
	}
	require.LessOrEqual(t, len(listener.open), testLimits.Conns)
	for range 2 * testLimits.Conns {
		if conn, _ := come(listener, 2); conn != nil {
			conn.Trust()
		}
	}
	refused, _ := come(listener, 3)
	assert.Nil(t, refused, "there is nobody to close")
}

// Of those who have sent their ClientHello and those who have not, neither kind of
// flood pushes out the other: behind a load balancer, both come from one address.
func TestWhoGivesWayWithinOneNetwork(t *testing.T) {
	type state struct{ greeted, named bool }
	silent, greeted, operator := state{}, state{greeted: true}, state{greeted: true, named: true}
	for name, tc := range map[string]struct {
		node  state
		flood state
	}{
		"a ClientHello among the silent":  {greeted, silent},
		"a silent one among ClientHellos": {silent, greeted},
		"an operator among ClientHellos":  {operator, greeted},
		"an operator among the silent":    {operator, silent},
	} {
		t.Run(name, func(t *testing.T) {
			listener := New(nil, testLimits)
			enter := func(s state) *quiet {
				conn, raw := come(listener, 1)
				require.NotNil(t, conn)
				conn.change(func() { conn.greeted, conn.named = s.greeted, s.named })
				return raw
			}
			raw := enter(tc.node)
			for range 10 * testLimits.PerNetwork {
				enter(tc.flood)
			}
			assert.False(t, raw.closed)
		})
	}
}

// Whose own network has most cannot push out others, when all of its own wait for us.
func TestTheBusiestNetworkPushesOutNobodyElse(t *testing.T) {
	limits := Limits{Conns: 16, PerNetwork: 16}
	listener := New(nil, limits)
	var others []*quiet
	for i := range 8 {
		_, raw := come(listener, byte(10+i))
		others = append(others, raw)
	}
	for range 8 {
		conn, _ := come(listener, 1)
		conn.Hold()
	}
	refused, _ := come(listener, 1)
	require.Nil(t, refused)
	for _, raw := range others {
		assert.False(t, raw.closed)
	}
	admitted, _ := come(listener, 2)
	require.NotNil(t, admitted, "another one's first")
}
