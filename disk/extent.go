package disk

import (
	"context"
	"time"
)

// Extent is how much of a new disk is wiped before it is used.
type Extent int

const (
	// FirstRegion takes seconds, whatever the size of the disk: it is as large as the
	// disk is fast. The file system is as large as that, and Grow does the rest.
	FirstRegion Extent = iota
	// Whole takes as long as it takes to write the disk once.
	Whole
)

// firstRegionTime is how long the first region is wiped, if it is not at its least
// or most size. Tests that count bytes change it.
var firstRegionTime = 4 * time.Second

// overhead: dm-integrity's journal and tags take no more than this part of a disk.
const overhead = 64

// try has mke2fs look at what it will be told, before anything is written: for the
// largest mapped device that a disk can have, and for a smaller one.
func (e Extent) try(ctx context.Context, m mke2fs, disk int64) error {
	for _, l := range []layout{{disk - metadataSize}, {disk - metadataSize - disk/overhead}} {
		size := l.least()
		if e == Whole {
			size = l.final()
		}
		if err := m.try(ctx, l, size); err != nil {
			return err
		}
	}
	return nil
}

// wipe returns the layout of the device that it has measured, and how large the
// file system is to be.
func (e Extent) wipe(ctx context.Context, mapping string, progress func(Progress)) (layout, int64, error) {
	w, err := openWiper(mapping)
	if err != nil {
		return layout{}, 0, err
	}
	defer w.Close()
	l := layout{w.size}
	size, err := e.wipeRegion(ctx, w, l, progress)
	if err != nil {
		return layout{}, 0, err
	}
	return l, size, w.sync()
}

// wipeRegion wipes from the start of the device, and the end region. Nobody has the
// time to wait for a large disk, or a reason to have a small file system on a fast
// one: so the first region is as much as the disk takes in a few seconds.
func (e Extent) wipeRegion(ctx context.Context, w zeroer, l layout, progress func(Progress)) (size int64, err error) {
	began, p := time.Now(), Progress{}
	wipe := func(s span) error {
		return w.wipe(ctx, s, func(n int64) { p.Done += n; progress(p) })
	}
	size = l.final()
	if e == FirstRegion {
		size = l.least()
	}
	p.Total = size + l.end(size).size()
	if err := wipe(span{0, size}); err != nil {
		return 0, err
	}
	if e == FirstRegion {
		took := max(time.Since(began), time.Millisecond)
		enough := l.region(int64(float64(size) * float64(firstRegionTime) / float64(took)))
		p.Total = enough + l.end(enough).size()
		for size < enough && time.Since(began) < firstRegionTime { // it may slow down
			next := l.region(size + blockGroup)
			if err := wipe(span{size, next}); err != nil {
				return 0, err
			}
			size = next
		}
	}
	p.Total = p.Done + l.end(size).size()
	return size, wipe(l.end(size))
}
