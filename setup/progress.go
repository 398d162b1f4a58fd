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
		percent, rate, remaining := wipeRate(done, total, now.Sub(start))
		b.Log.Info("Wiping disk",
			zap.Int64("progressPercent", percent), zap.Float64("rateMiBPerSecond", rate), zap.Duration("remaining", remaining))
		b.Status(fmt.Sprintf("Wiping state disk: %d%%, %v remaining", percent, remaining))
	}
}

// wipeRate is in MiB per second, rounded to one digit; remaining to seconds.
func wipeRate(done, total int64, elapsed time.Duration) (percent int64, rate float64, remaining time.Duration) {
	if done <= 0 || total <= 0 || elapsed <= 0 {
		return 0, 0, 0
	}
	perSecond := float64(done) / elapsed.Seconds()
	remaining = time.Duration(float64(total-done) / perSecond * float64(time.Second)).Round(time.Second)
	return done * 100 / total, float64(int64(perSecond/(1<<20)*10)) / 10, remaining
}
