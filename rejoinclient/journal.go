package rejoinclient

import (
	"slices"

	"go.uber.org/zap"
)

// journal writes what has changed, and a summary. To say the same again costs a
// serial console more than it tells anybody. It belongs to one goroutine.
type journal struct {
	log    *zap.Logger
	room   int            // for lines about single endpoints, until the next summary
	faults map[int]string // that the log shows, by rank of the source
	listed []string       // that the log shows
	empty  bool           // the list was, last time
}

func newJournal(log *zap.Logger) *journal {
	return &journal{log: log, room: maxLines, faults: map[int]string{}}
}

// source says why one source has no endpoints, or not all of them.
func (j *journal) source(l list) {
	if l.err == nil {
		delete(j.faults, l.rank)
		return
	}
	text := explain(l.err)
	if j.faults[l.rank] == text {
		return
	}
	j.faults[l.rank] = text
	j.log.Warn("Failed to get list with JoinService endpoints", zap.String("error", text))
}

// list is said when it changes. An empty one needs no words beside those of the
// sources that failed.
func (j *journal) list(endpoints []string) {
	empty := len(endpoints) == 0
	if empty && !j.empty && len(j.faults) == 0 {
		j.log.Warn("Failed to get list with JoinService endpoints", zap.String("error", "nobody knows another control-plane node"))
	}
	j.empty = empty
	if empty || slices.Equal(endpoints, j.listed) {
		return
	}
	j.listed = endpoints
	fields := []zap.Field{zap.Strings("endpoints", endpoints[:min(len(endpoints), maxListed)])}
	if more := len(endpoints) - maxListed; more > 0 {
		fields = append(fields, zap.Int("more", more))
	}
	j.log.Info("Received list with JoinService endpoints", fields...)
}

// asking is said once of each endpoint.
func (j *journal) asking(e *endpoint) {
	if !e.asked && j.hasRoom() {
		e.asked = true
		j.log.Info("Requesting rejoin ticket", zap.String("endpoint", e.address))
	}
}

// failed is said again when the endpoint fails in another way.
func (j *journal) failed(e *endpoint, text string) {
	if e.logged != text && j.hasRoom() {
		e.logged = text
		j.log.Warn("Failed to rejoin on endpoint", zap.String("error", text), zap.String("endpoint", e.address))
	}
}

func (j *journal) hasRoom() bool {
	j.room--
	return j.room >= 0
}

// summary ends a round.
func (j *journal) summary(counts map[string]int) {
	j.room = maxLines
	j.log.Error("Failed to rejoin on all endpoints", zap.Int("attempts", counts["attempts"]),
		zap.Int("endpoints", counts["endpoints"]), zap.Int("unreachable", counts["endpointsUnreachable"]),
		zap.Int("silent", counts["endpointsSilent"]), zap.Int("refused", counts["endpointsRefused"]), zap.Int("wrongKey", counts["endpointsWrongKey"]))
}
