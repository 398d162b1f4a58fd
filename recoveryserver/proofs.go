package recoveryserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/keys"
)

// proofs bounds what the candidates of strangers cost this node, however costly
// the disk's KDF is: one at a time, so that those of the rejoin client wait for
// no more than one; and after a wrong key its network has to pause, whether its
// sender waits for the verdict or not.
type proofs struct {
	prove    keys.Prove
	serving  context.Context // ends when no more proofs may begin
	proving  context.Context // ends when those that have begun should
	end      func()          // ends proving, and waits for those that have begun
	queue    *fairlistener.Queue
	pauses   pauses
	underway sync.WaitGroup
}

// newProofs lets a proof that has begun go on when serving ends: it may be the one
// that ended it.
func newProofs(serving context.Context, prove keys.Prove, times times) *proofs {
	p := &proofs{
		prove: prove, serving: serving, queue: fairlistener.NewQueue(1, 1, maxWaiting),
		pauses: pauses{first: times.pause, longest: times.maxPause},
	}
	proving, cancel := context.WithCancel(context.WithoutCancel(serving))
	p.proving, p.end = proving, func() { cancel(); p.underway.Wait() }
	return p
}

// try proves a candidate that came over conn. Beyond what Prove fails with, it
// fails with fairlistener.ErrBusy or a pausing.
func (p *proofs) try(ctx context.Context, conn *fairlistener.Conn, candidate keys.Pair) error {
	network := conn.Network()
	if err := p.pauses.check(network.Widest()); err != nil {
		return err
	}
	defer conn.Hold()()
	if err := p.enter(ctx, network); err != nil {
		return err
	}
	if err := p.pauses.check(network.Widest()); err != nil { // others of the network came before
		p.queue.Leave(network)
		return err
	}
	verdict := p.begin(network, candidate)
	select {
	case err := <-verdict:
		return err
	case <-ctx.Done(): // the sender has gone, and pays all the same
		return ctx.Err()
	}
}

// begin proves a copy of the candidate: its sender may go before the verdict.
func (p *proofs) begin(network fairlistener.Network, candidate keys.Pair) <-chan error {
	own, verdict := candidate.Clone(), make(chan error, 1)
	own.Sender = network.Widest().String()
	p.underway.Go(func() {
		defer p.queue.Leave(network)
		defer own.Wipe()
		err := p.prove(p.proving, own)
		if errors.Is(err, keys.ErrWrongKey) {
			p.pauses.extend(network.Widest())
		}
		verdict <- err
	})
	return verdict
}

// enter waits no longer than the server serves.
func (p *proofs) enter(ctx context.Context, network fairlistener.Network) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.serving, cancel)()
	return p.queue.Enter(ctx, network, false)
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
