package setup

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"disk-mapper/internal/keys"
)

// maxSenders bounds those who are remembered for a wrong key. A proof takes about a
// second, so they are many hours' worth; after that, all begin anew.
const maxSenders = 4096

// prover proves candidates, one at a time, until one has won. Sources take turns, so
// that none can keep another one waiting for more than a proof. Within a source,
// those go first who have never sent a wrong key; among equals, those who came first.
type prover struct {
	disk    Disk
	sources int
	won     chan keys.Pair

	mu      sync.Mutex
	waiting []*candidate // in the order in which they came
	proving bool
	last    int // the source whose turn it is or was
	liars   map[sender]bool
	decided bool
	wrong   int
}

type sender struct {
	source int
	name   string
}

// candidate is one that waits.
type candidate struct {
	sender
	turn chan struct{}
}

func newProver(disk Disk, sources int) *prover {
	return &prover{disk: disk, sources: sources, won: make(chan keys.Pair, 1), last: sources - 1, liars: map[sender]bool{}}
}

// from is what that source gets.
func (p *prover) from(source int) keys.Prove {
	return func(ctx context.Context, pair keys.Pair) error {
		return p.prove(ctx, sender{source, pair.Sender}, pair)
	}
}

// prove makes one proof at a time, because a proof costs what the disk's KDF costs,
// and anybody may send candidates. A proof cannot be interrupted: when ctx ends, it
// goes on and keeps its turn, so that impatient senders do not make proofs pile up.
// It counts all the same.
func (p *prover) prove(ctx context.Context, from sender, pair keys.Pair) error {
	if err := p.enter(ctx, from); err != nil {
		return err
	}
	own, verdict := pair.Clone(), make(chan error, 1)
	go func() { // not awaited if ctx ends: it ends by itself, within seconds
		defer p.leave()
		p.judge(from, own, verdict)
	}()
	select {
	case err := <-verdict:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-verdict: // both at once: the winner ends the race, and its context
		return err
	default:
		return p.tooLate(ctx)
	}
}

func (p *prover) enter(ctx context.Context, from sender) error {
	c := &candidate{from, make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, c)
	p.next()
	p.mu.Unlock()
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		p.giveUp(c)
		return p.tooLate(ctx)
	}
}

func (p *prover) giveUp(c *candidate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-c.turn: // at the same moment
		p.proving = false
		p.next()
	default:
		p.remove(c)
	}
}

func (p *prover) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proving = false
	p.next()
}

// next gives the turn to whose it is, if it is free. The caller holds mu.
func (p *prover) next() {
	if p.proving || len(p.waiting) == 0 {
		return
	}
	first := slices.MinFunc(p.waiting, func(a, b *candidate) int { return cmp.Compare(p.rank(a), p.rank(b)) })
	p.remove(first)
	p.proving, p.last = true, first.source
	close(first.turn)
}

// rank orders by how far the source's turn is away, then by wrong keys.
func (p *prover) rank(c *candidate) int {
	rank := 2 * ((c.source - p.last - 1 + p.sources) % p.sources)
	if p.liars[c.sender] {
		rank++
	}
	return rank
}

func (p *prover) remove(c *candidate) {
	if i := slices.Index(p.waiting, c); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
}

// judge owns the pair. The winner hears of it before the race ends.
func (p *prover) judge(from sender, pair keys.Pair, verdict chan<- error) {
	err := keys.ErrDecided
	if !p.over() {
		err = p.try(from, pair)
	}
	verdict <- err
	if err != nil {
		pair.Wipe()
		return
	}
	p.won <- pair // never blocks: only one candidate wins
}

func (p *prover) tooLate(ctx context.Context) error {
	if p.over() {
		return keys.ErrDecided
	}
	return context.Cause(ctx)
}

func (p *prover) try(from sender, pair keys.Pair) error {
	if pair.Disk.Bytes() == nil || pair.Measurement.Bytes() == nil {
		return keys.ErrLength
	}
	err := p.disk.Prove(pair.Disk)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decided = err == nil
	if errors.Is(err, keys.ErrWrongKey) {
		p.wrong++
		p.remember(from)
	}
	return err
}

func (p *prover) remember(liar sender) {
	if len(p.liars) >= maxSenders {
		clear(p.liars)
	}
	p.liars[liar] = true
}

func (p *prover) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.decided
}

func (p *prover) refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong
}

// result is asked when all sources are gone. The last of them may have won: it
// hears so before the race does.
func (p *prover) result() (keys.Pair, error) {
	if p.over() {
		return <-p.won, nil
	}
	return keys.Pair{}, errNoSource
}
