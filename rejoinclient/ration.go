package rejoinclient

import "time"

// ration gives out lines of the log and their bytes: a burst, and so many with time.
// What strangers are behind draws on it, whatever they do. The zero value is full.
type ration struct {
	linesUsed, bytesUsed float64
	at                   time.Time
	leftOut              int // lines, since last asked
}

// allow takes a line of that many bytes, unless fewer than kept of the lines, or of
// the bytes in proportion, would be left.
func (r *ration) allow(now time.Time, size, kept int) bool {
	passed := now.Sub(r.at).Seconds()
	if r.at.IsZero() {
		passed = 0
	}
	r.at = now
	r.linesUsed = max(0, r.linesUsed-passed/lineEvery.Seconds())
	r.bytesUsed = max(0, r.bytesUsed-passed*bytesPerSecond)
	if r.linesUsed+1 > float64(lineBurst-kept) || r.bytesUsed+float64(size) > byteBurst*float64(lineBurst-kept)/lineBurst {
		r.leftOut++
		return false
	}
	r.linesUsed++
	r.bytesUsed += float64(size)
	return true
}

// takeLeftOut returns how many lines were left out since it was last called.
func (r *ration) takeLeftOut() int {
	n := r.leftOut
	r.leftOut = 0
	return n
}
