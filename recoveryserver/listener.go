package recoveryserver

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// cappedListener accepts at most maxConns connections at a time, and
// maxConnsPerPeer from one peer. For one more, the oldest that has not finished
// its handshake is closed: whoever connects and says nothing must not lock out
// the operator. If all have finished it, the new one is closed at once: waiting
// ones would fill the backlog.
type cappedListener struct {
	net.Listener
	mu   sync.Mutex
	open []*cappedConn // oldest first
}

type cappedConn struct {
	net.Conn
	peer     netip.Prefix
	listener *cappedListener
	greeted  bool // has finished its handshake; guarded by the listener's mutex
}

// Accept returns the next connection that is within the caps.
func (l *cappedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		capped := &cappedConn{Conn: conn, peer: network(conn.RemoteAddr()), listener: l}
		if l.admit(capped) {
			return capped, nil
		}
		_ = conn.Close()
	}
}

func (l *cappedListener) admit(conn *cappedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	samePeer := func(other *cappedConn) bool { return other.peer == conn.peer }
	anyPeer := func(*cappedConn) bool { return true }
	if l.count(samePeer) >= maxConnsPerPeer && !l.evict(samePeer) {
		return false
	}
	if l.count(anyPeer) >= maxConns && !l.evict(anyPeer) {
		return false
	}
	l.open = append(l.open, conn)
	return true
}

func (l *cappedListener) count(which func(*cappedConn) bool) (n int) {
	for _, conn := range l.open {
		if which(conn) {
			n++
		}
	}
	return n
}

// evict reports whether it has made room.
func (l *cappedListener) evict(which func(*cappedConn) bool) bool {
	i := slices.IndexFunc(l.open, func(conn *cappedConn) bool { return !conn.greeted && which(conn) })
	if i < 0 {
		return false
	}
	_ = l.open[i].Conn.Close()
	l.open = slices.Delete(l.open, i, i+1)
	return true
}

// closeAll closes every open connection, whatever its state.
func (l *cappedListener) closeAll() {
	for _, conn := range l.conns() {
		_ = conn.Close()
	}
}

func (l *cappedListener) conns() []*cappedConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.open)
}

// Close makes room for another connection.
func (c *cappedConn) Close() error {
	c.listener.mu.Lock()
	c.listener.open = slices.DeleteFunc(c.listener.open, func(other *cappedConn) bool { return other == c })
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// greet keeps the connection from being evicted.
func (c *cappedConn) greet() {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.greeted = true
}

// network is what one peer can easily have: an IPv4 address, or an IPv6 subnet.
func network(addr net.Addr) netip.Prefix {
	parsed, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := parsed.Addr().Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.WithZone("").Prefix(bits) // bits are in range
	return prefix
}
