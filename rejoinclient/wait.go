package rejoinclient

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// wait is one Offer or Join. Its schedule and its report belong to the goroutine of
// run; attempts tell it how they ended.
type wait struct {
	client   *Client
	wanted   wanted
	log      *zap.Logger
	turns    *turns
	schedule *schedule
	report   *report
	ended    chan outcome
	attempts sync.WaitGroup
}

func newWait(c *Client, w wanted, log *zap.Logger) *wait {
	return &wait{
		client: c, wanted: w, log: log,
		turns: &turns{times: c.times}, schedule: newSchedule(len(c.sources)), report: newReport(log, w),
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
			w.report.list(w.schedule.order)
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
			w.report.list(w.schedule.order)
			return
		case <-ctx.Done():
			return
		}
		if answered == 0 {
			over = time.After(w.client.times.settle)
		}
	}
	w.report.list(w.schedule.order)
}

// take keeps what a failing source said before: endpoints do not vanish because
// a metadata service does.
func (w *wait) take(l list) {
	w.report.source(l)
	if l.err == nil || len(l.endpoints) > 0 {
		w.schedule.update(l.rank, l.endpoints, time.Now())
	}
	w.publish()
}

func (w *wait) begin(ctx context.Context) {
	for _, e := range w.schedule.due(time.Now()) {
		w.report.asking(e)
		a := &attempt{wait: w, endpoint: e.address, place: place{inVain: e.inVain}}
		w.attempts.Go(func() { w.ended <- a.run(ctx) })
	}
	w.publish()
}

func (w *wait) fail(o outcome) {
	e := w.schedule.fail(o, time.Now(), w.client.times.backoff)
	w.report.failed(e, o.err)
	if w.schedule.roundOver() {
		w.report.summary(w.schedule.counts())
	}
	w.publish()
}

func (w *wait) nextDue() <-chan time.Time {
	if at, ok := w.schedule.next(); ok {
		return time.After(time.Until(at))
	}
	return nil
}

func (w *wait) publish() {
	counts := w.schedule.counts()
	w.client.counts.Store(&counts)
}
