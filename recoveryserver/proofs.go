package recoveryserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"disk-mapper/internal/keys"
)

// proofs bounds what the candidates of strangers cost this node, however costly
// the disk's KDF is: one at a time, so that those of the rejoin client wait for
// no more than one; and after a wrong key its network has to pause.
type proofs struct {
	prove   keys.Prove
	serving context.Context
	queue   queue
	pauses  pauses
}

// try proves a candidate that came over conn. Beyond what Prove fails with, it
// fails with errBusy or a pausing.
func (p *proofs) try(ctx context.Context, conn *cappedConn, candidate keys.Pair) error {
	if err := p.pauses.check(conn.peer); err != nil {
		return err
	}
	defer conn.hold()()
	if err := p.enter(ctx, conn.peer); err != nil {
		return err
	}
	defer p.queue.leave()
	if err := p.pauses.check(conn.peer); err != nil { // others of the network came before
		return err
	}
	err := p.prove(ctx, candidate)
	if errors.Is(err, keys.ErrWrongKey) {
		p.pauses.extend(conn.peer)
	}
	return err
}

// enter waits no longer than the server serves. A proof that has begun goes on:
// it may be the one that ends the serving.
func (p *proofs) enter(ctx context.Context, peer netip.Prefix) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.serving, cancel)()
	return p.queue.enter(ctx, peer)
}

// pausing is a network that has to wait before it may try another key.
type pausing time.Duration

func (p pausing) Error() string {
	return fmt.Sprintf("after wrong keys from this address: try again in %v", (time.Duration(p) + time.Second).Truncate(time.Second))
}

// pauses double with each wrong key of a network, from first to longest. A
// network that has kept still for another longest starts anew.
type pauses struct {
	first, longest time.Duration
	mu             sync.Mutex
	networks       map[netip.Prefix]pause
}

type pause struct {
	length time.Duration
	end    time.Time
}

func (p *pauses) check(peer netip.Prefix) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if left := time.Until(p.networks[peer].end); left > 0 {
		return pausing(left)
	}
	return nil
}

func (p *pauses) extend(peer netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.networks == nil {
		p.networks = map[netip.Prefix]pause{}
	}
	last, length := p.networks[peer], p.first
	if time.Since(last.end) < p.longest {
		length = min(2*last.length, p.longest)
	}
	p.networks[peer] = pause{length, time.Now().Add(length)}
	if len(p.networks) > maxRemembered {
		p.forgetOne()
	}
}

// forgetOne forgets the network whose pause ends first.
func (p *pauses) forgetOne() {
	var first netip.Prefix
	for peer, pause := range p.networks {
		if first == (netip.Prefix{}) || pause.end.Before(p.networks[first].end) {
			first = peer
		}
	}
	delete(p.networks, first)
}
