package cloud

// Release is a generation of clusters: they mark their nodes in different ways,
// in names, tags, labels or metadata items.
type Release int

const (
	// Release224 is how releases up to v2.24 mark nodes.
	Release224 Release = iota
	// Release21 is how v2.1 did.
	Release21
)

// Names of tags and labels since v2.2, the same on all platforms.
const (
	RoleTag = "constellation-role"
	UIDTag  = "constellation-uid"
)
