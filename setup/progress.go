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
	Rate      float64       // MiB per second, to one digit
	Remaining time.Duration // to a second; 0 while unknown
}

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
	p.Remaining = time.Duration(float64(total-done) / perSecond * float64(time.Second)).Round(time.Second)
	return p
}

// Fields are those of a log line.
func (p Pace) Fields() []zap.Field {
	return []zap.Field{
		zap.Int64("progressPercent", p.Percent), zap.Float64("rateMiBPerSecond", p.Rate), zap.Duration("remaining", p.Remaining),
	}
}

func (p Pace) String() string { return fmt.Sprintf("%d%%, %v remaining", p.Percent, p.Remaining) }
