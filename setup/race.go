package setup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	ended := make(chan struct{}, len(b.Sources))
	var sources sync.WaitGroup
	defer sources.Wait() // nothing outlives the call
	defer cancel()       // runs first
	for _, source := range b.Sources {
		sources.Go(func() {
			if err := source.Offer(ctx, b.Disk.ID(), jury.prove); err != nil && ctx.Err() == nil {
				b.Log.Error("Key source failed", zap.Error(err))
			}
			ended <- struct{}{}
		})
	}
	return b.await(ctx, jury, ended)
}

// await returns the verdict and prints the beacon until there is one.
func (b Boot) await(ctx context.Context, jury *jury, ended <-chan struct{}) (keys.Pair, error) {
	start := time.Now()
	beacon := time.NewTicker(beaconInterval)
	defer beacon.Stop()
	b.sayWaiting(start, jury)
	for left := len(b.Sources); ; {
		select {
		case pair := <-jury.won:
			return pair, nil
		case <-ctx.Done():
			return keys.Pair{}, context.Cause(ctx)
		case <-beacon.C:
			b.sayWaiting(start, jury)
		case <-ended:
			if left--; left == 0 {
				return jury.last()
			}
		}
	}
}

// sayWaiting tells the console and the service manager the same.
func (b Boot) sayWaiting(start time.Time, jury *jury) {
	counts := map[string]int{"waitedSeconds": int(time.Since(start).Seconds()), "refusedKeys": jury.refused()}
	for _, source := range b.Sources {
		if c, ok := source.(Counter); ok {
			maps.Copy(counts, c.Counts())
		}
	}
	fields, words := []zap.Field{zap.Stringer("uuid", b.Disk.ID())}, []string{}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fields = append(fields, zap.Int(name, counts[name]))
		words = append(words, fmt.Sprintf("%s %d", name, counts[name]))
	}
	b.Log.Info("Waiting for decryption key", fields...)
	b.Status("Waiting for decryption key: " + strings.Join(words, ", "))
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
// what the disk's KDF costs, and anybody may send candidates. A proof cannot be
// interrupted: when ctx ends, it goes on and keeps its turn, so that impatient
// senders do not make proofs pile up. It counts all the same.
func (j *jury) prove(ctx context.Context, candidate keys.Pair) error {
	select {
	case <-j.turn:
	case <-ctx.Done():
		return j.tooLate(ctx)
	}
	own, verdict := candidate.Clone(), make(chan error, 1)
	go func() { // not awaited if ctx ends: it ends by itself, within seconds
		defer func() { j.turn <- struct{}{} }()
		j.judge(own, verdict)
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
		return j.tooLate(ctx)
	}
}

// judge owns the candidate. The winner hears of it before the race ends.
func (j *jury) judge(candidate keys.Pair, verdict chan<- error) {
	err := keys.ErrDecided
	if !j.over() {
		err = j.try(candidate)
	}
	verdict <- err
	if err != nil {
		candidate.Wipe()
		return
	}
	j.won <- candidate // never blocks: only one candidate wins
}

func (j *jury) tooLate(ctx context.Context) error {
	if j.over() {
		return keys.ErrDecided
	}
	return context.Cause(ctx)
}

func (j *jury) try(candidate keys.Pair) error {
	if candidate.Disk.Bytes() == nil || candidate.Measurement.Bytes() == nil {
		return keys.ErrLength
	}
	err := j.disk.Prove(candidate.Disk)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decided = err == nil
	if errors.Is(err, keys.ErrWrongKey) {
		j.wrong++
	}
	return err
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

// last is asked when all sources are gone. The last of them may have won: it
// hears so before the race does.
func (j *jury) last() (keys.Pair, error) {
	if j.over() {
		return <-j.won, nil
	}
	return keys.Pair{}, errNoSource
}
