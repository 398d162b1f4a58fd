package disk

// A new disk is wiped, and has a file system, in its first region only. The file
// system grows behind the wipe until it fills the disk (Grow). All sizes are in
// bytes of the mapped device.
const (
	blockSize  = sectorSize
	blockGroup = 128 << 20 // of ext4, with blocks of 4096 bytes

	// The first region is what the disk takes in a few seconds, between these. It is
	// whole block groups, so that the numbers that mke2fs derives from them are those
	// of a large file system. The least has room for the largest journal.
	leastRegion = 2 * blockGroup
	mostRegion  = 64 * blockGroup

	// worthGrowing is the least that the file system grows by, and can end with in
	// its last block group. What is less is left alone.
	worthGrowing = 16 << 20
	// maxGrowth bounds what a power cut undoes.
	maxGrowth = 8 << 30
	// endRegion is wiped with the first region: tools that look for signatures read
	// up to some MiB before the end of a device, and what the file system leaves
	// there is wiped without being asked for.
	endRegion = worthGrowing

	inodeRatio = 16384
	// tableShare: a block group's table of inodes is this part of it.
	tableShare = inodeRatio / 256
	// maxReserve is what the largest table of growing file systems reaches to.
	maxReserve = 8 << 40
)

// layout is where things lie on a mapped device of a size.
type layout struct{ size int64 }

// least is how large the file system of a new disk is at least.
func (l layout) least() int64 { return l.region(leastRegion) }

// region is the largest file system of a new disk in so many bytes that are wiped.
func (l layout) region(wiped int64) int64 {
	wiped = max(leastRegion, min(mostRegion, wiped/blockGroup*blockGroup))
	if l.size < wiped+4*worthGrowing {
		return l.final()
	}
	return wiped
}

// final is how large the file system becomes. A last block group that is little
// more than its own tables is left away.
func (l layout) final() int64 {
	if rest := l.size % blockGroup; l.size > blockGroup && rest < worthGrowing {
		return l.size - rest
	}
	return l.size - l.size%blockSize
}

// complete reports whether a file system of this size has nothing left to grow by.
func (l layout) complete(fileSystem int64) bool { return l.size-fileSystem < worthGrowing }

// next is how large a file system of this size, with so much room in it, is to be
// after one step. Steps are an eighth of what is there, so that a large disk takes
// few, and a quarter of the room, so that others do not fill it meanwhile.
func (l layout) next(fileSystem, room int64) int64 {
	step := max(worthGrowing, min(maxGrowth, fileSystem/8, room/4))
	next := (fileSystem + step) / worthGrowing * worthGrowing
	if l.final()-next < step {
		return l.final()
	}
	return next
}

// end is the end region of the device, without what the file system has of it.
func (l layout) end(fileSystem int64) span { return span{max(fileSystem, l.size-endRegion), l.size} }

// journal is the size of the file system's journal: for the final size, as
// mke2fs has it, but no larger than the least first region allows.
func (l layout) journal() int64 {
	switch {
	case l.size < 128<<20:
		return 4 << 20
	case l.size < 1<<30:
		return 16 << 20
	case l.size < 2<<30:
		return 32 << 20
	}
	return 64 << 20
}

// reserve is up to which size the file system's tables can grow in place: 16 times
// the disk, should it be enlarged. Beyond, the kernel lays tables out differently.
func (l layout) reserve() int64 { return min(maxReserve, 16*l.size) }
