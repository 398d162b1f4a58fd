package fairlistener

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"disk-mapper/internal/printable"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Lines shares out the lines of a log that strangers cause: so many in all in each
// lineInterval, and so many of them about one network. Who is trusted is exempt. The
// zero value is ready.
type Lines struct {
	mu      sync.Mutex
	since   time.Time
	total   int
	of      map[netip.Prefix]int
	leftOut int64
}

// About returns log for lines about a peer of network, or log itself if the peer is
// trusted.
func (l *Lines) About(log *zap.Logger, network Network, trusted bool) *zap.Logger {
	if trusted {
		return log
	}
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return rationed{core, l, network.Widest()}
	}))
}

// Report sums up what was left out, until ctx ends.
func (l *Lines) Report(ctx context.Context, log *zap.Logger) {
	report := time.NewTicker(lineInterval)
	defer report.Stop()
	for ended := false; !ended; {
		select {
		case <-report.C:
		case <-ctx.Done():
			ended = true
		}
		if n := l.takeLeftOut(); n > 0 {
			log.Warn("Left out lines about callers", zap.Int64("lines", n))
		}
	}
}

func (l *Lines) takeLeftOut() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.leftOut
	l.leftOut = 0
	return n
}

func (l *Lines) take(network netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) >= lineInterval {
		l.since, l.total, l.of = now, 0, map[netip.Prefix]int{}
	}
	if l.total >= maxLines || l.of[network] >= maxLinesOfOne {
		l.leftOut++
		return false
	}
	l.total++
	l.of[network]++
	return true
}

// rationed asks before each line that would be written.
type rationed struct {
	zapcore.Core
	lines   *Lines
	network netip.Prefix
}

func (r rationed) With(fields []zapcore.Field) zapcore.Core {
	return rationed{r.Core.With(fields), r.lines, r.network}
}

func (r rationed) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !r.Enabled(entry.Level) || !r.lines.take(r.network) {
		return checked
	}
	return r.Core.Check(entry, checked)
}

// Reason is the field for an error about a peer, short enough for the bytes that
// a minute of the log may have.
func Reason(err error) zap.Field { return zap.String("error", printable.Text(err.Error())) }
