package recoveryserver

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// cappedListener accepts at most maxConns connections at a time, and
// maxConnsPerPeer from one peer. For one more, another is closed: of the peer
// that has most, the one that has done nothing for longest. A peer with one
// connection is safe from any peer with more. What waits for us, not we for it,
// is never closed: the handshake whose quote is being made, the call whose key is
// being proven. If nothing else is open, the new one is closed at once: waiting
// ones would fill the backlog.
type cappedListener struct {
	net.Listener
	counts *counts
	mu     sync.Mutex
	open   []*cappedConn // who did something last is last
	peers  map[netip.Prefix]int
}

// cappedConn is a connection of one peer. All but the net.Conn and peer is
// guarded by the listener's mutex.
type cappedConn struct {
	net.Conn
	peer     netip.Prefix
	listener *cappedListener
	holds    int
	instead  *cappedConn     // this one replaces; nil once that is closed
	gone     context.Context // ends when the connection is closed
	leave    context.CancelFunc
}

// Accept returns the next connection that is within the caps.
func (l *cappedListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn := l.admit(raw); conn != nil {
			return conn, nil
		}
		reset(raw)
	}
}

// admit returns nil if there is no room.
func (l *cappedListener) admit(raw net.Conn) *cappedConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn := &cappedConn{Conn: raw, peer: network(raw.RemoteAddr()), listener: l}
	room := true
	switch {
	case l.peers[conn.peer] >= maxConnsPerPeer:
		conn.instead, room = l.evict(func(other *cappedConn) bool { return other.peer == conn.peer })
	case len(l.open) >= maxConns:
		conn.instead, room = l.evict(l.ofTheBusiest())
	}
	if !room {
		l.counts.refused.Add(1)
		return nil
	}
	conn.gone, conn.leave = context.WithCancel(context.Background())
	l.add(conn)
	return conn
}

// ofTheBusiest picks the peers that have most, of those who have what can be
// closed.
func (l *cappedListener) ofTheBusiest() func(*cappedConn) bool {
	most := 0
	for _, conn := range l.open {
		if conn.holds == 0 {
			most = max(most, l.peers[conn.peer])
		}
	}
	return func(conn *cappedConn) bool { return l.peers[conn.peer] == most }
}

// evict gives up a connection for another one, if it can. It is for the other
// one to close it.
func (l *cappedListener) evict(which func(*cappedConn) bool) (*cappedConn, bool) {
	i := slices.IndexFunc(l.open, func(conn *cappedConn) bool { return conn.holds == 0 && which(conn) })
	if i < 0 {
		return nil, false
	}
	conn := l.open[i]
	l.remove(conn)
	l.counts.refused.Add(1)
	return conn, true
}

func (l *cappedListener) add(conn *cappedConn) {
	if l.peers == nil {
		l.peers = map[netip.Prefix]int{}
	}
	l.open = append(l.open, conn)
	l.peers[conn.peer]++
	l.counts.open.Store(int64(len(l.open)))
}

// remove does nothing if conn has been removed before.
func (l *cappedListener) remove(conn *cappedConn) {
	i := slices.Index(l.open, conn)
	if i < 0 {
		return
	}
	l.open = slices.Delete(l.open, i, i+1)
	if l.peers[conn.peer]--; l.peers[conn.peer] == 0 {
		delete(l.peers, conn.peer)
	}
	conn.leave()
	l.counts.open.Store(int64(len(l.open)))
}

// closeAll closes every open connection, whatever its state.
func (l *cappedListener) closeAll() {
	l.mu.Lock()
	all := slices.Clone(l.open)
	l.mu.Unlock()
	for _, conn := range all {
		_ = conn.Close()
	}
}

// makeRoom closes the connection that this one replaces. Not Accept does it: to
// close a connection is to wait for its reader, and a flood would fill the
// backlog meanwhile.
func (c *cappedConn) makeRoom() {
	c.listener.mu.Lock()
	given := c.instead
	c.instead = nil
	c.listener.mu.Unlock()
	if given != nil {
		given.makeRoom()
		reset(given.Conn)
	}
}

// Close makes room for another connection.
func (c *cappedConn) Close() error {
	c.makeRoom()
	c.listener.mu.Lock()
	c.listener.remove(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// progress notes that the peer has done its part once more.
func (c *cappedConn) progress() {
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.open, c); i >= 0 {
		l.open = append(slices.Delete(l.open, i, i+1), c)
	}
}

// hold keeps the connection from being closed for another one while its peer
// waits for us. The result ends that.
func (c *cappedConn) hold() (release func()) {
	c.addHolds(1)
	return func() { c.addHolds(-1) }
}

func (c *cappedConn) addHolds(n int) {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.holds += n
}

// refuse hangs up on a peer that has asked for more than there is.
func (c *cappedConn) refuse() {
	c.listener.counts.refused.Add(1)
	reset(c.Conn)
}

// reset closes a connection in the way that published clients take for "not
// now": after a proper end or a TLS alert they would give up.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
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
