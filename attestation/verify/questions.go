package verify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/printable"
)

// What strangers can make us ask Google, who counts questions.
const (
	maxAsking      = 4                     // questions on their way at a time
	maxAskingOfOne = 1                     // of them, about peers of one network
	maxToAsk       = 128                   // that wait for a turn; the network that has most loses its last
	askInterval    = 50 * time.Millisecond // between the beginnings of two
	answerKept     = 10 * time.Minute      // an answer that a key is an instance's
	maxAnswerKept  = 1024                  // such answers; some 200 bytes each
)

// questions asks Google about keys, only so often, and remembers who was good.
type questions struct {
	gce   GCE
	turns *fairlistener.Queue

	mu   sync.Mutex
	next time.Time // when the next one may begin
	good map[question]time.Time
}

// question is about one key of one instance: another key is another question.
type question struct {
	of  instance.GCE
	key [sha256.Size]byte
}

func newQuestions(gce GCE) *questions {
	if gce == nil {
		return nil
	}
	return &questions{gce: gce, turns: fairlistener.NewQueue(maxAsking, maxAskingOfOne, maxToAsk), good: map[question]time.Time{}}
}

// ask fails with ErrKey unless Google says, or has said not long ago, that key is
// the instance's. It waits for its turn until ctx ends; networks take turns, and where
// the last answer was good, the next goes before strangers. What is asked can be
// forged: all of it is public.
func (q *questions) ask(ctx context.Context, of instance.GCE, key attestationKey) error {
	about := question{of, key.fingerprint}
	if q.remembers(about) {
		return nil
	}
	network := fairlistener.NetworkOfWork(ctx)
	if err := q.turns.Enter(ctx, network, false); err != nil {
		return fmt.Errorf("%w: waiting for a turn to ask Google about it: %w", ErrKey, err)
	}
	defer q.turns.Leave(network)
	if err := q.pause(ctx); err != nil {
		return fmt.Errorf("%w: waiting for a turn to ask Google about it: %w", ErrKey, err)
	}
	known, err := q.gce.ShieldedKey(ctx, of)
	if err != nil {
		return fmt.Errorf("%w: asking Google about it: %w", ErrKey, printable.Error(err))
	}
	if !key.public.Equal(known) {
		return fmt.Errorf("%w: it is not that of the instance %s in %s", ErrKey, of.Name, of.Zone)
	}
	q.remember(about)
	q.turns.Trust(network)
	return nil
}

func (q *questions) remembers(about question) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	at, ok := q.good[about]
	return ok && time.Since(at) < answerKept
}

func (q *questions) remember(about question) {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.good, func(_ question, at time.Time) bool { return time.Since(at) >= answerKept })
	if len(q.good) >= maxAnswerKept {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(q.good)), func(a, b question) int { return q.good[a].Compare(q.good[b]) })
		delete(q.good, oldest)
	}
	q.good[about] = time.Now()
}

// pause ends when the next question may begin.
func (q *questions) pause(ctx context.Context) error {
	q.mu.Lock()
	begin := time.Now()
	if begin.Before(q.next) {
		begin = q.next
	}
	q.next = begin.Add(askInterval)
	q.mu.Unlock()
	turn := time.NewTimer(time.Until(begin))
	defer turn.Stop()
	select {
	case <-turn.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
