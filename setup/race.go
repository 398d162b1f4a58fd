package setup

import (
	"context"
	"errors"
	"sync"
	"time"

	"disk-mapper/internal/keys"

	"go.uber.org/zap"
)

// beaconInterval is how often a waiting node says so. Operators search the
// console for the message; a serial console is too slow for more.
const beaconInterval = 30 * time.Second

var errNoSource = errors.New("no source of keys is left: neither recovery server nor rejoin client is running")

// firstProven starts all sources and returns the first pair whose key opens the
// disk. The others are then cancelled, and gone when it returns.
func (b Boot) firstProven(ctx context.Context) (keys.Pair, error) {
	ctx, cancel := context.WithCancel(ctx)
	jury := newJury(b.Disk)
	var sources sync.WaitGroup
	defer sources.Wait() // nothing outlives the call
	defer cancel()       // runs first
	for _, source := range b.Sources {
		sources.Go(func() {
			if err := source.Offer(ctx, b.Disk.ID(), jury.prove); err != nil && ctx.Err() == nil {
				b.Log.Error("Key source failed", zap.Error(err))
			}
		})
	}
	exhausted := make(chan struct{})
	go func() { sources.Wait(); close(exhausted) }()
	return b.await(ctx, jury, exhausted)
}

// await returns the verdict and prints the beacon until there is one.
func (b Boot) await(ctx context.Context, jury *jury, exhausted <-chan struct{}) (keys.Pair, error) {
	start := time.Now()
	beacon := time.NewTicker(beaconInterval)
	defer beacon.Stop()
	b.Status("Waiting for decryption key")
	for {
		b.Log.Info("Waiting for decryption key",
			zap.Stringer("uuid", b.Disk.ID()), zap.Int("waitedSeconds", int(time.Since(start).Seconds())), zap.Int("refusedKeys", jury.refused()))
		select {
		case pair := <-jury.won:
			return pair, nil
		case <-ctx.Done():
			return keys.Pair{}, context.Cause(ctx)
		case <-exhausted:
			return jury.last()
		case <-beacon.C:
		}
	}
}

// jury proves candidates, one at a time, until one has won.
type jury struct {
	disk    Disk
	won     chan keys.Pair
	turn    chan struct{} // holds one token
	mu      sync.Mutex
	decided bool
	wrong   int
}

func newJury(disk Disk) *jury {
	j := &jury{disk: disk, won: make(chan keys.Pair, 1), turn: make(chan struct{}, 1)}
	j.turn <- struct{}{}
	return j
}

// prove is the keys.Prove that sources get. One at a time, because a proof costs
// what the disk's KDF costs, and anybody may send candidates.
func (j *jury) prove(ctx context.Context, candidate keys.Pair) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-j.turn:
		defer func() { j.turn <- struct{}{} }()
	}
	if j.over() {
		return keys.ErrDecided
	}
	if candidate.Disk.Bytes() == nil || candidate.Measurement.Bytes() == nil {
		return keys.ErrLength
	}
	err := j.disk.Prove(ctx, candidate.Disk)
	j.note(err)
	if err == nil {
		j.won <- candidate.Clone() // never blocks: only one candidate wins
	}
	return err
}

func (j *jury) note(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decided = j.decided || err == nil
	if errors.Is(err, keys.ErrWrongKey) {
		j.wrong++
	}
}

func (j *jury) over() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.decided
}

func (j *jury) refused() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.wrong
}

// last is asked when all sources are gone: the last of them may have won.
func (j *jury) last() (keys.Pair, error) {
	select {
	case pair := <-j.won:
		return pair, nil
	default:
		return keys.Pair{}, errNoSource
	}
}
