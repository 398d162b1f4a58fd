package disk

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
