package rejoinclient

import (
	"context"
	"sync"
	"time"

	"disk-mapper/internal/keys"
)

// wait is one Offer. Its book and its journal belong to the goroutine of run;
// attempts report to it.
type wait struct {
	client   *Client
	disk     keys.DiskID
	prove    keys.Prove
	turns    *turns
	book     *book
	journal  *journal
	ended    chan outcome
	attempts sync.WaitGroup
}

func newWait(c *Client, disk keys.DiskID, prove keys.Prove) *wait {
	return &wait{
		client: c, disk: disk, prove: prove,
		turns: newTurns(c.times), book: newBook(len(c.sources)), journal: newJournal(c.log),
		ended: make(chan outcome, maxEndpoints), // so that no attempt has to wait to report
	}
}

// run returns when the wait for a key is over.
func (w *wait) run(ctx context.Context, lists <-chan list) {
	defer w.attempts.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.settle(ctx, lists)
	for ctx.Err() == nil {
		w.begin(ctx)
		select {
		case <-ctx.Done():
		case l := <-lists:
			w.take(l)
			w.journal.list(w.book.order)
		case o := <-w.ended:
			if o.over || ctx.Err() != nil { // else the failure is of our own making
				return
			}
			w.fail(o)
		case <-w.nextDue():
		}
	}
}

// settle gives all sources a moment after the first has answered, so that there
// is one list to begin with.
func (w *wait) settle(ctx context.Context, lists <-chan list) {
	var over <-chan time.Time
	for answered := 0; answered < len(w.client.sources); answered++ {
		select {
		case l := <-lists:
			w.take(l)
		case <-over:
			w.journal.list(w.book.order)
			return
		case <-ctx.Done():
			return
		}
		if answered == 0 {
			over = time.After(w.client.times.settle)
		}
	}
	w.journal.list(w.book.order)
}

// take keeps what a failing source said before: endpoints do not vanish because
// a metadata service does.
func (w *wait) take(l list) {
	w.journal.source(l)
	if l.err == nil || len(l.endpoints) > 0 {
		w.book.update(l.rank, l.endpoints, time.Now())
	}
	w.publish()
}

func (w *wait) begin(ctx context.Context) {
	for _, e := range w.book.due(time.Now()) {
		w.journal.asking(e)
		w.attempts.Go(func() { w.ended <- w.ask(ctx, e.address) })
	}
	w.publish()
}

func (w *wait) fail(o outcome) {
	e := w.book.fail(o, time.Now(), w.client.times.backoff)
	w.journal.failed(e, explain(o.err))
	if w.book.roundOver() {
		w.journal.summary(w.book.counts())
	}
	w.publish()
}

func (w *wait) nextDue() <-chan time.Time {
	if at, ok := w.book.next(); ok {
		return time.After(time.Until(at))
	}
	return nil
}

func (w *wait) publish() {
	counts := w.book.counts()
	w.client.counts.Store(&counts)
}
