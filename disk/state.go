package disk

import "fmt"

// State is what a disk is, as far as this daemon is concerned. Only Blank and
// Prepared may be formatted.
type State int

const (
	// Unknown is the zero value: nothing may be done with the disk.
	Unknown State = iota
	// Blank carries no signature of anything known.
	Blank
	// Prepared was formatted by this daemon, or was about to be, and has not
	// joined a cluster since.
	Prepared
	// Joined holds the state of a node of a cluster.
	Joined
)

// String returns a lower-case word.
func (s State) String() string {
	switch s {
	case Blank:
		return "blank"
	case Prepared:
		return "prepared"
	case Joined:
		return "joined"
	}
	return "unknown"
}

// Refusal says why a disk is neither Blank, Prepared nor Joined.
type Refusal struct {
	Field string // where on the disk
	Found string // what is there
	Want  string // what would have been accepted
}

// Error names field, found and wanted.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: found %s, want %s", r.Field, r.Found, r.Want)
}

func refuse(field string, found, want any) *Refusal {
	return &Refusal{Field: field, Found: clip(found), Want: clip(want)}
}

// clip keeps what a hostile disk says short and on one line.
func clip(v any) string {
	s, ok := v.(string)
	if !ok {
		return fmt.Sprintf("%.120s", fmt.Sprint(v))
	}
	return fmt.Sprintf("%.120q", s)
}
