package disk

// State is what a disk is, as far as this daemon is concerned. Only Blank and
// Prepared may be formatted, and Unrecognised where a policy says so.
type State int

const (
	// Unknown is the zero value: nothing may be done with the disk.
	Unknown State = iota
	// Blank is zeros: all of its first 16 MiB, its last 2 MiB, and each sample
	// between them.
	Blank
	// Prepared was formatted by this daemon, or was about to be, and has not
	// joined a cluster since.
	Prepared
	// Joined holds the state of a node of a cluster.
	Joined
	// Unrecognised holds data of no known kind, from its first sector on. Only
	// OpenNonzero finds a disk to be that.
	Unrecognised
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
	case Unrecognised:
		return "unrecognised"
	}
	return "unknown"
}
