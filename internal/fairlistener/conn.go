package fairlistener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// ErrHungUp reports a connection that was closed, by its peer or for another one.
var ErrHungUp = errors.New("the connection was closed")

var (
	errTooLong  = fmt.Errorf("handshake of more than %d bytes, or ClientHello of more than %d", maxHandshake, smallHandshake)
	errTooEarly = errors.New("the peer speaks while it has to wait for an answer")
)

// Conn is a connection of one peer.
type Conn struct {
	net.Conn
	network  Network
	listener *Listener
	groups   [levels]*group
	gone     context.Context // ends when the connection is closed
	leave    context.CancelCauseFunc

	// Guarded by the listener's mutex.
	holds   int
	greeted bool  // has sent a whole ClientHello
	named   bool  // has been named before strangers
	trusted bool  // has proven what the server wants
	instead *Conn // this one replaces; nil once that is closed

	reading         // of the handshake, by one goroutine at a time
	answered func() // gives back the turn to have the ClientHello answered; nil before it
}

// reading is what a handshake has read so far.
type reading struct {
	over   bool   // the handshake is, or what is left of it is thrown away
	bytes  int    // read
	large  func() // gives back the turn for a large handshake
	unread []byte // came too early
}

func newConn(l *Listener, raw net.Conn) *Conn {
	conn := &Conn{Conn: raw, network: NetworkOf(raw.RemoteAddr()), listener: l}
	conn.gone, conn.leave = context.WithCancelCause(context.Background())
	return conn
}

// Network is that of the peer.
func (c *Conn) Network() Network { return c.network }

// crowded reports whether the peer's network has more than its share, not counting
// those that are trusted.
func (c *Conn) crowded(share int) bool { return c.groups[0].strangers() > share }

// compareShare compares how much the networks of two peers have, from the widest
// on, not counting those that are trusted.
func (c *Conn) compareShare(other *Conn) int {
	for level, group := range c.groups {
		if by := cmp.Compare(group.strangers(), other.groups[level].strangers()); by != 0 {
			return by
		}
	}
	return 0
}

// Close makes room for another connection.
func (c *Conn) Close() error {
	c.makeRoom()
	c.listener.mu.Lock()
	c.listener.remove(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// makeRoom closes the connection that this one replaces. Not Accept does it: to
// close a connection is to wait for its reader, and a flood would fill the
// backlog meanwhile.
func (c *Conn) makeRoom() {
	c.listener.mu.Lock()
	given := c.instead
	c.instead = nil
	c.listener.mu.Unlock()
	if given != nil {
		given.makeRoom()
		reset(given.Conn)
	}
}

// Progress notes that the peer has done its part once more.
func (c *Conn) Progress() { c.change(func() {}) }

// Trust notes that the peer has proven what the server wants of it: from then on
// its connection is not closed for another one, and the next peer of its network goes
// before strangers.
func (c *Conn) Trust() {
	for _, queue := range []*Queue{c.listener.hellos, c.listener.quotes, c.listener.large} {
		queue.Trust(c.network)
	}
	c.change(func() {
		if !c.trusted {
			c.trusted = true
			for _, group := range c.groups {
				group.trusted++
			}
		}
	})
}

// Trusted reports whether Trust was called.
func (c *Conn) Trusted() bool {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	return c.trusted
}

// change does nothing to a connection that has been given up.
func (c *Conn) change(note func()) {
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.open, c); i >= 0 {
		note()
		l.open = append(slices.Delete(l.open, i, i+1), c)
	}
}

// Hold keeps the connection from being closed for another one while its peer
// waits for us. The result ends that.
func (c *Conn) Hold() (release func()) {
	c.addHolds(1)
	return sync.OnceFunc(func() { c.addHolds(-1) })
}

func (c *Conn) addHolds(n int) {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.holds += n
}

// refuse hangs up on a peer that has asked for more than there is.
func (c *Conn) refuse() {
	c.listener.mu.Lock()
	c.listener.refused++
	c.listener.mu.Unlock()
	reset(c.Conn)
}

// Read gives the handshake no more than it may read, and all that the peer sends
// after it.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	if c.over {
		return c.Conn.Read(p)
	}
	left, err := c.mayRead()
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p[:min(len(p), left)])
	c.bytes += n
	return n, err
}

// Write ends the turn of who was answered: what costs time is done, and the peer
// could make us wait here.
func (c *Conn) Write(p []byte) (int, error) {
	c.endAnswer()
	return c.Conn.Write(p)
}

func (c *Conn) endAnswer() {
	if c.answered != nil {
		c.answered()
	}
}

// enterAnswer waits for a turn to have the ClientHello answered, for as long as the
// peer stays.
func (c *Conn) enterAnswer() error {
	ctx, stop := c.whileConnected(c.gone, maxEarly)
	err := c.enter(ctx, c.listener.hellos, "to have the ClientHello answered")
	stop()
	if err != nil {
		return err
	}
	c.answered = sync.OnceFunc(func() { c.listener.hellos.Leave(c.network) })
	return nil
}

// enter waits for a turn of something that takes less than turnTime.
func (c *Conn) enter(ctx context.Context, queue *Queue, what string) error {
	defer c.Hold()()
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	err := queue.Enter(ctx, c.network, c.isNamed())
	if errors.Is(err, ErrBusy) {
		c.refuse()
	}
	if err != nil {
		return fmt.Errorf("waiting for a turn %s: %w", what, err)
	}
	return nil
}

// mayRead returns how many bytes may be read next, once they may be.
func (c *Conn) mayRead() (int, error) {
	switch {
	case c.bytes < smallHandshake:
		return smallHandshake - c.bytes, nil
	case c.bytes >= maxHandshake || c.answered == nil:
		return 0, errTooLong // no ClientHello is large
	case c.large == nil:
		if err := c.enterLarge(); err != nil {
			return 0, err
		}
	}
	return maxHandshake - c.bytes, nil
}

// enterLarge waits for a turn to read a large handshake. Its deadline starts with
// the turn.
func (c *Conn) enterLarge() error {
	if err := c.enter(c.gone, c.listener.large, "to send a large certificate"); err != nil {
		return err
	}
	c.large = sync.OnceFunc(func() { c.listener.large.Leave(c.network) })
	return c.SetReadDeadline(time.Now().Add(largeTime))
}

// judge decides about the peer for as long as it stays, and no longer: that may be to
// wait for somebody else. Its own time starts again afterwards. A large handshake keeps
// its turn, since the document is still there.
func (c *Conn) judge(ctx context.Context, decide func(context.Context) error) error {
	defer c.judged()
	defer c.Hold()()
	ctx, stop := c.whileConnected(ctx, maxAhead)
	err := decide(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, ErrHungUp) || errors.Is(cause, errTooEarly) {
		err = cause
	}
	stop()
	return cmp.Or(err, c.SetDeadline(time.Now().Add(certificateTime)))
}

// judged ends what the handshake may take: no more of it is kept.
func (c *Conn) judged() {
	c.over = true
	c.endAnswer()
	if c.large != nil {
		c.large()
	}
}

func (c *Conn) isNamed() bool {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	return c.named
}

// whileConnected returns a context that ends when the peer hangs up, and what ends
// the watch. It is for the time in which a peer waits for us and has little to say:
// that is kept for the handshake, and room bytes end the context too.
func (c *Conn) whileConnected(ctx context.Context, room int) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(c.gone, func() { cancel(ErrHungUp) })
	_ = c.SetReadDeadline(time.Time{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if err := c.watch(room); err != nil {
			cancel(err)
		}
	}()
	return ctx, func() {
		forget()
		_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes the watch
		<-watched
		_ = c.SetReadDeadline(time.Time{})
		cancel(nil)
	}
}

// watch reads until it is woken.
func (c *Conn) watch(room int) error {
	early := make([]byte, room)
	for {
		n, err := c.Conn.Read(early[len(c.unread):])
		c.unread = append(c.unread, early[len(c.unread):len(c.unread)+n]...)
		var network net.Error
		switch {
		case errors.As(err, &network) && network.Timeout():
			return nil
		case err != nil:
			return ErrHungUp
		case len(c.unread) == room:
			return errTooEarly
		}
	}
}

// reset closes a connection in the way that published clients take for "not
// now": after a proper end or a TLS alert they would give up.
func reset(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
