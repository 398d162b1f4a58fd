package rejoinclient

import (
	"slices"
	"time"

	"disk-mapper/internal/printable"

	"go.uber.org/zap"
)

// report writes what has changed, and a summary, within its ration. To say the
// same again costs a serial console more than it tells anybody. It belongs to one
// goroutine.
type report struct {
	log    *zap.Logger
	wanted wanted
	ration ration
	faults map[int]string // that the log shows, by rank of the source
	listed []string       // that the log shows
	empty  bool           // the list was, last time
}

func newReport(log *zap.Logger, w wanted) *report {
	return &report{log: log, wanted: w, faults: map[int]string{}}
}

// lineSize is what the log adds to the texts in it.
const lineSize = 192

// hasRoom takes a line with these texts. Twice their length: JSON may escape them.
func (r *report) hasRoom(kept int, texts ...string) bool {
	size := lineSize
	for _, text := range texts {
		size += 2 * len(text)
	}
	return r.ration.allow(time.Now(), size, kept)
}

// source says why one source has no endpoints, or not all of them.
func (r *report) source(l list) {
	if l.err == nil {
		delete(r.faults, l.rank)
		return
	}
	text := explain(l.err)
	if r.faults[l.rank] == text || !r.hasRoom(keptForRounds, text) {
		return
	}
	r.faults[l.rank] = text
	r.log.Warn("Failed to get list with JoinService endpoints", zap.String("error", text))
}

// list is said when it changes. An empty one needs no words beside those of the
// sources that failed.
func (r *report) list(endpoints []string) {
	empty := len(endpoints) == 0
	if empty && !r.empty && len(r.faults) == 0 && r.hasRoom(keptForRounds) {
		r.log.Warn("Failed to get list with JoinService endpoints", zap.String("error", "nobody knows another control-plane node"))
	}
	r.empty = empty
	if empty || slices.Equal(endpoints, r.listed) {
		return
	}
	shown := beginning(endpoints)
	if !r.hasRoom(keptForRounds, shown...) {
		return
	}
	r.listed = endpoints
	fields := []zap.Field{zap.Strings("endpoints", shown)}
	if more := len(endpoints) - len(shown); more > 0 {
		fields = append(fields, zap.Int("more", more))
	}
	r.log.Info("Received list with JoinService endpoints", fields...)
}

// beginning is what one line shows of a list.
func beginning(endpoints []string) (shown []string) {
	left := maxListedText
	for _, endpoint := range endpoints[:min(len(endpoints), maxListed)] {
		text := printable.Text(endpoint)
		if left -= len(text); left < 0 {
			break
		}
		shown = append(shown, text)
	}
	return shown
}

// asking is said once of each endpoint.
func (r *report) asking(e *endpoint) {
	if text := printable.Text(e.address); !e.asked && r.hasRoom(keptForFailures, text) {
		e.asked = true
		r.wanted.asking(r.log, text)
	}
}

// failed is said again when the endpoint fails in another way.
func (r *report) failed(e *endpoint, err error) {
	why, text := explain(err), printable.Text(e.address)
	if e.logged != why && r.hasRoom(keptForLists, why, text) {
		e.logged = why
		r.wanted.failed(r.log, why, text)
	}
}

// summary ends a round.
func (r *report) summary(counts map[string]int) {
	if !r.hasRoom(0) {
		return
	}
	fields := []zap.Field{
		zap.Int("attempts", counts["attempts"]), zap.Int("endpoints", counts["endpoints"]),
		zap.Int("unreachable", counts["endpointsUnreachable"]), zap.Int("silent", counts["endpointsSilent"]),
		zap.Int("refused", counts["endpointsRefused"]), zap.Int("wrongKey", counts["endpointsWrongKey"]),
	}
	if n := r.ration.takeLeftOut(); n > 0 {
		fields = append(fields, zap.Int("linesLeftOut", n))
	}
	r.wanted.failedAll(r.log, fields...)
}
