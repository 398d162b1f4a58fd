package disk

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// strideAlone is what Grow wipes at once while nobody else uses the device.
	strideAlone = 4 << 20
	// strideShared bounds how long somebody else's write can wait behind it.
	strideShared = 1 << 20
	// strideHurry is for when Grow may not rest: whoever writes 1 MiB at a time then
	// has a third of the device, and the file system grows faster than they fill it.
	strideHurry = 2 << 20
	// restShare: Grow then rests up to this many times as long as the stride took,
	// which is the longer the more the device has to do.
	restShare   = 4
	maxRest     = 2 * time.Second
	activeAfter = 300 * time.Millisecond // others count as active after they were seen

	// tableWrite: no write of less is taken for that of a table of inodes.
	tableWrite = 256 << 10
	tableSize  = blockGroup / tableShare
)

// foreground is whoever else uses the device.
type foreground struct {
	stat   string               // of the device, in sysfs
	room   func() (room, error) // in its file system
	seen   traffic              // of everybody, until now
	tables int64                // bytes that the kernel itself may still write
	active time.Time            // others are, until then
	use    consumption
	alone  int64 // stride while nobody else is there
	keep   int64 // bytes that are to be free when the step is done
	hurry  bool  // there was no time to rest
}

// room is how full a file system is, in bytes. An inode stands for what there is
// one for, so that many small files count, too.
type room struct{ free, used int64 }

// traffic is what was read from a device and written to it, in bytes.
type traffic struct{ read, written int64 }

func newForeground(device *os.File, dir string) (*foreground, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(device.Fd()), &s); err != nil {
		return nil, err
	}
	f := &foreground{
		stat: fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(s.Rdev), unix.Minor(s.Rdev)),
		room: func() (room, error) { return roomOf(dir) }, alone: strideAlone,
	}
	return f, f.forget()
}

func roomOf(dir string) (room, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return room{}, fmt.Errorf("asking for the room in %s: %w", dir, err)
	}
	return newRoom(s), nil
}

func newRoom(s unix.Statfs_t) room {
	return room{
		free: min(int64(s.Bavail)*s.Bsize, int64(s.Ffree)*inodeRatio),
		used: int64(s.Blocks-s.Bfree)*s.Bsize + int64(s.Files-s.Ffree)*inodeRatio,
	}
}

// forget leaves out what was read and written until now.
func (f *foreground) forget() (err error) {
	f.seen, err = f.traffic()
	return err
}

// grew is called after the file system has grown. In its own time, the kernel
// writes the tables of inodes of new block groups, which is nobody else.
func (f *foreground) grew(from, to int64) error {
	groups := func(size int64) int64 { return (size + blockGroup - 1) / blockGroup }
	f.tables = (groups(to) - groups(from)) * tableSize
	return f.forget()
}

// begin is called before a step that makes so much more room. Others are to have
// used up half of that when it is done, at most: else each step would leave less.
func (f *foreground) begin(free, step int64) { f.keep = free - step/2 }

// stride is how many bytes to wipe at once.
func (f *foreground) stride() int64 {
	switch {
	case !f.busy():
		return f.alone
	case f.hurry:
		return strideHurry
	}
	return strideShared
}

func (f *foreground) busy() bool { return time.Now().Before(f.active) }

// yield is called after each stride, which was of so many bytes and took so long,
// and rests if others use the device. left are the bytes until there is more room.
func (f *foreground) yield(ctx context.Context, wrote int64, took time.Duration, left int64) error {
	if err := f.look(wrote); err != nil {
		return err
	}
	room, err := f.room()
	if err != nil {
		return err
	}
	f.use.see(room.used, time.Now())
	if !f.busy() {
		return nil
	}
	need := time.Duration(float64(took) * float64(left) / float64(wrote))
	rest := min(maxRest, time.Duration(float64(took)*f.use.restShare(room.free-f.keep, need)))
	f.hurry = rest == 0
	f.active = f.active.Add(rest) // nobody is seen meanwhile
	select {
	case <-ctx.Done():
	case <-time.After(rest):
	}
	return nil
}

// look finds out whether there were others while so much was wiped.
func (f *foreground) look(wiped int64) error {
	before := f.seen
	if err := f.forget(); err != nil {
		return err
	}
	read, written := f.seen.read-before.read, f.seen.written-before.written-wiped
	if read == 0 && written >= tableWrite && f.tables > 0 {
		f.tables -= written
		return nil
	}
	if read > 0 || written > 0 {
		f.active = time.Now().Add(activeAfter)
	}
	return nil
}

// consumption is how fast a file system fills, in bytes per second.
type consumption struct {
	used int64
	at   time.Time
	rate float64
}

const (
	// consumptionInterval is what it is measured over, at least.
	consumptionInterval = 250 * time.Millisecond
	// consumptionMemory: after that long, half of a rate still counts.
	consumptionMemory = 5 * time.Second
)

// see takes a higher rate at once, and forgets it slowly.
func (c *consumption) see(used int64, now time.Time) {
	passed := now.Sub(c.at)
	switch {
	case c.at.IsZero():
	case passed < consumptionInterval:
		return
	default:
		rate := float64(used-c.used) / passed.Seconds()
		c.rate = max(rate, c.rate/(1+passed.Seconds()/consumptionMemory.Seconds()), 0)
	}
	c.used, c.at = used, now
}

// restShare is how many times as long as it works Grow may rest, if it has to work
// for need, and others may use up so many bytes until then.
func (c *consumption) restShare(spare int64, need time.Duration) float64 {
	if c.rate == 0 || need <= 0 {
		return restShare
	}
	until := float64(spare) / c.rate
	return max(0, min(restShare, until/need.Seconds()-1))
}

// traffic is as the kernel's Documentation/block/stat.rst has it.
func (f *foreground) traffic() (traffic, error) {
	raw, err := os.ReadFile(f.stat)
	if err != nil {
		return traffic{}, err
	}
	var skip, read, written int64
	if _, err := fmt.Sscan(strings.TrimSpace(string(raw)), &skip, &skip, &read, &skip, &skip, &skip, &written); err != nil {
		return traffic{}, fmt.Errorf("%s: %w", f.stat, err)
	}
	return traffic{read * 512, written * 512}, nil
}
