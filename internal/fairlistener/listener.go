// Package fairlistener stands between strangers on the network and a server of
// attested TLS: what a peer can hold before it has proven anything is capped for
// its network, can be taken back for somebody else, ends with its connection, and
// is shared fairly between networks. Connections, quotes, large certificates and
// lines of the log are shared in this one piece of code, for all servers.
//
// Trust boundary: anybody may connect, from as many addresses as they have. This
// package does not decide who is trusted; servers tell it whom they have come to
// trust (Conn.Trust), and whom to name before strangers (Handshakes.Named).
package fairlistener

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Listener accepts at most Limits.Conns connections at a time, and of one network
// that has proven nothing at most Limits.PerNetwork. For one more, another one is
// closed: of the network that has most; see victim.
//
// Never closed for another one are those that are trusted, and those that wait for
// us, not we for them: for a quote, for a proof. If nothing else is open,
// the new one is closed at once: waiting ones would fill the backlog.
type Listener struct {
	net.Listener
	limits Limits
	hellos *Queue // to be answered
	quotes *Queue
	large  *Queue

	mu      sync.Mutex
	open    []*Conn // who did something last is last
	groups  [levels]map[netip.Prefix]*group
	refused int
}

// group is a network of one size.
type group struct{ open, trusted int }

func (g *group) strangers() int { return g.open - g.trusted }

// New returns a listener that shares out the connections of listener, and owns it.
func New(listener net.Listener, limits Limits) *Listener {
	l := &Listener{
		Listener: listener, limits: limits,
		hellos: NewQueue(maxAnswers, maxAnswers, limits.Waiting), quotes: NewQueue(1, 1, limits.Waiting), large: NewQueue(maxLarge, maxLargeOfOne, limits.Waiting),
	}
	for level := range l.groups {
		l.groups[level] = map[netip.Prefix]*group{}
	}
	return l
}

// Accept returns the next connection that is within the caps: a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
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

// Counts says how many connections are open, and how many were refused, or closed
// for another one, because there were too many.
func (l *Listener) Counts() (open, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open), l.refused
}

// Stop lets the calls of server, which serves this listener, end for as long as
// grace, then closes what is still open: first below gRPC, because its own Stop waits
// for handshakes that peers hold open. All handlers have returned when it does.
func (l *Listener) Stop(server *grpc.Server, grace time.Duration) {
	var graceful sync.WaitGroup
	defer graceful.Wait()
	ended := make(chan struct{})
	graceful.Go(func() { server.GracefulStop(); close(ended) })
	select {
	case <-ended:
	case <-time.After(grace):
	}
	l.closeAll()
	server.Stop()
}

// admit returns nil if there is no room.
func (l *Listener) admit(raw net.Conn) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn := newConn(l, raw)
	for level, prefix := range conn.network {
		if l.groups[level][prefix] == nil {
			l.groups[level][prefix] = new(group)
		}
		conn.groups[level] = l.groups[level][prefix]
		conn.groups[level].open++
	}
	l.open = append(l.open, conn)
	if !l.full(conn) {
		return conn
	}
	l.refused++
	victim := l.victim(conn)
	if victim == nil {
		l.remove(conn)
		return nil
	}
	l.remove(victim)
	conn.instead = victim
	return conn
}

func (l *Listener) full(newcomer *Conn) bool {
	return newcomer.crowded(l.limits.PerNetwork) || len(l.open) > l.limits.Conns
}

// remove does nothing if conn has been removed before.
func (l *Listener) remove(conn *Conn) {
	i := slices.Index(l.open, conn)
	if i < 0 {
		return
	}
	l.open = slices.Delete(l.open, i, i+1)
	for level, group := range conn.groups {
		if group.open--; group.open == 0 {
			delete(l.groups[level], conn.network[level])
		}
		if conn.trusted {
			group.trusted--
		}
	}
	conn.leave(ErrHungUp)
}

// closeAll closes every open connection, whatever its state.
func (l *Listener) closeAll() {
	l.mu.Lock()
	all := slices.Clone(l.open)
	l.mu.Unlock()
	for _, conn := range all {
		_ = conn.Close()
	}
}

// victim picks who makes room for newcomer, or nobody: in the network that has
// most, the newcomer's own counted with it, and within a /48 the /56 and the /64
// that have most. There, who was not named goes before who was. Of those who have
// sent their ClientHello and those who have not, it is one of the larger number, so
// that neither kind of flood pushes out the other kind of peer; and of these the
// one that has done nothing for longest.
func (l *Listener) victim(newcomer *Conn) *Conn {
	own := newcomer.crowded(l.limits.PerNetwork)
	var candidates []*Conn
	for _, conn := range l.open {
		if conn.holds > 0 || conn.trusted || conn == newcomer || own && conn.groups[0] != newcomer.groups[0] {
			continue
		}
		by := 1
		if len(candidates) > 0 {
			by = conn.compareShare(candidates[0])
		}
		if by > 0 {
			candidates = candidates[:0]
		}
		if by >= 0 {
			candidates = append(candidates, conn)
		}
	}
	if len(candidates) == 0 || !own && newcomer.compareShare(candidates[0]) > 0 {
		return nil // the newcomer's network has more than any other one that could give way
	}
	return longestIdle(candidates)
}

// longestIdle is for connections that are in the order of what they did last.
func longestIdle(candidates []*Conn) *Conn {
	if strangers := filter(candidates, func(c *Conn) bool { return !c.named }); len(strangers) > 0 {
		candidates = strangers
	}
	silent := filter(candidates, func(c *Conn) bool { return !c.greeted })
	greeted := filter(candidates, func(c *Conn) bool { return c.greeted })
	if len(silent) >= len(greeted) {
		return silent[0]
	}
	return greeted[0]
}

func filter(conns []*Conn, keep func(*Conn) bool) (kept []*Conn) {
	for _, conn := range conns {
		if keep(conn) {
			kept = append(kept, conn)
		}
	}
	return kept
}
