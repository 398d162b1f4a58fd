package setup

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

// progressInterval is how often a wipe reports.
const progressInterval = 5 * time.Second

// logWipe returns what Format calls with its progress: one line at the start,
// one every few seconds, with rate and remaining time.
func (b Boot) logWipe(start time.Time) func(done, total int64) {
	var next time.Time
	return func(done, total int64) {
		now := time.Now()
		if now.Before(next) {
			return
		}
		next = now.Add(progressInterval)
		p := NewPace(0, done, total, now.Sub(start))
		b.Log.Info("Wiping disk", p.Fields()...)
		b.Status("Wiping state disk: " + p.String())
	}
}

// Pace is how fast a wipe goes, for whoever waits for it.
type Pace struct {
	Percent   int64         // done
	Rate      float64       // MiB per second, to one digit; 0 while unknown
	Remaining time.Duration // to a second, at least one until all is done; 0 while unknown
}

// longest is a remaining time above which nobody can tell.
const longest = 10 * 365 * 24 * time.Hour

// NewPace is the pace of what began at one number of bytes and has come to another.
func NewPace(from, done, total int64, elapsed time.Duration) Pace {
	if total <= 0 {
		return Pace{}
	}
	p := Pace{Percent: done * 100 / total}
	if done <= from || elapsed <= 0 {
		return p
	}
	perSecond := float64(done-from) / elapsed.Seconds()
	p.Rate = float64(int64(perSecond/(1<<20)*10)) / 10
	if left := float64(total-done) / perSecond; left > 0 && left < longest.Seconds() {
		p.Remaining = max(time.Second, time.Duration(left*float64(time.Second)).Round(time.Second))
	}
	return p
}

// Known reports whether the remaining time can be told.
func (p Pace) Known() bool { return p.Remaining > 0 || p.Percent >= 100 }

// Fields are those of a log line.
func (p Pace) Fields() []zap.Field {
	fields := []zap.Field{zap.Int64("progressPercent", p.Percent), zap.Float64("rateMiBPerSecond", p.Rate)}
	if p.Known() {
		fields = append(fields, zap.Duration("remaining", p.Remaining))
	}
	return fields
}

func (p Pace) String() string {
	if !p.Known() {
		return fmt.Sprintf("%d%%, remaining time not known yet", p.Percent)
	}
	return fmt.Sprintf("%d%%, %v remaining", p.Percent, p.Remaining)
}
