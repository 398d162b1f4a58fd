package recoveryserver

import (
	"net"
	"net/netip"
	"sync"
)

// cappedListener accepts at most maxConns connections at a time, and
// maxConnsPerPeer from one peer. Others are closed at once: waiting ones would
// fill the backlog and lock out the operator.
type cappedListener struct {
	net.Listener
	mu   sync.Mutex
	open map[*cappedConn]struct{}
}

type cappedConn struct {
	net.Conn
	peer     netip.Prefix
	listener *cappedListener
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
	same := 0
	for other := range l.open {
		if other.peer == conn.peer {
			same++
		}
	}
	if same >= maxConnsPerPeer || len(l.open) >= maxConns {
		return false
	}
	l.open[conn] = struct{}{}
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
	conns := make([]*cappedConn, 0, len(l.open))
	for conn := range l.open {
		conns = append(conns, conn)
	}
	return conns
}

// Close makes room for another connection.
func (c *cappedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
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
