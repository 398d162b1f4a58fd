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
	prover := newProver(b.Disk, len(b.Sources))
	ended := make(chan struct{}, len(b.Sources))
	var sources sync.WaitGroup
	defer sources.Wait() // nothing outlives the call
	defer cancel()       // runs first
	for i, source := range b.Sources {
		sources.Go(func() {
			if err := source.Offer(ctx, b.Disk.ID(), prover.from(i)); err != nil && ctx.Err() == nil {
				b.Log.Error("Key source failed", zap.Error(err))
			}
			ended <- struct{}{}
		})
	}
	return b.await(ctx, prover, ended)
}

// await returns the verdict and prints the beacon until there is one.
func (b Boot) await(ctx context.Context, prover *prover, ended <-chan struct{}) (keys.Pair, error) {
	start := time.Now()
	beacon := time.NewTicker(beaconInterval)
	defer beacon.Stop()
	b.sayWaiting(start, prover)
	for left := len(b.Sources); ; {
		select {
		case pair := <-prover.won:
			return pair, nil
		case <-ctx.Done():
			return keys.Pair{}, context.Cause(ctx)
		case <-beacon.C:
			b.sayWaiting(start, prover)
		case <-ended:
			if left--; left == 0 {
				return prover.result()
			}
		}
	}
}

// sayWaiting tells the console and the service manager the same.
func (b Boot) sayWaiting(start time.Time, prover *prover) {
	counts := map[string]int{"waitedSeconds": int(time.Since(start).Seconds()), "refusedKeys": prover.refused()}
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
