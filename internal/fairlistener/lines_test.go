package fairlistener

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestLines: what strangers cause is so much in all, and so much about one network, in
// each interval; who is trusted is exempt.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		log, lines := zap.New(core), new(Lines)
		ctx, cancel := context.WithCancel(t.Context())
		var reports sync.WaitGroup
		defer reports.Wait()
		defer cancel()
		reports.Go(func() { lines.Report(ctx, log) })
		about := func(host int, trusted bool) int {
			before := logs.FilterMessage("about").Len()
			for range 2 * maxLines {
				lines.About(log, at(host), trusted).Warn("about")
			}
			return logs.FilterMessage("about").Len() - before
		}
		assert.Equal(t, maxLinesOfOne, about(1, false))
		assert.Equal(t, maxLinesOfOne, about(2, false))
		assert.Equal(t, maxLines-2*maxLinesOfOne, about(3, false))
		assert.Zero(t, about(4, false))
		assert.Equal(t, 2*maxLines, about(4, true), "of who is trusted")

		time.Sleep(lineInterval)
		synctest.Wait()
		summary := logs.FilterMessage("Left out lines about callers").All()
		if assert.Len(t, summary, 1) {
			assert.EqualValues(t, 4*2*maxLines-maxLines, summary[0].ContextMap()["lines"])
		}
		assert.Equal(t, maxLinesOfOne, about(1, false), "the next interval has room again")
	})
}
