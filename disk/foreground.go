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
	// restShare: Grow then rests this many times as long as the stride took, which
	// is the longer the more the device has to do.
	restShare   = 4
	maxRest     = 2 * time.Second
	activeAfter = 300 * time.Millisecond // others count as active after they were seen

	// Below these, a full file system is worse than a slow one.
	hurryBytes = 1 << 30
	hurryShare = 16 // of the disk
)

// foreground is whoever else uses the device.
type foreground struct {
	stat   string // of the device, in sysfs
	dir    string // where its file system is
	hurry  int64  // if less than this is free in there, nobody rests
	seen   int64  // sectors read and written by everybody
	active time.Time
}

func newForeground(device *os.File, dir string, size int64) (*foreground, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(device.Fd()), &s); err != nil {
		return nil, err
	}
	f := &foreground{
		stat: fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(s.Rdev), unix.Minor(s.Rdev)),
		dir:  dir, hurry: min(hurryBytes, size/hurryShare),
	}
	return f, f.forget()
}

// forget leaves out what was read and written until now.
func (f *foreground) forget() (err error) {
	f.seen, err = f.sectors()
	return err
}

// stride is how many bytes to wipe at once.
func (f *foreground) stride() int64 {
	if f.busy() {
		return strideShared
	}
	return strideAlone
}

func (f *foreground) busy() bool { return time.Now().Before(f.active) }

// yield is called after each stride and rests if others use the device.
func (f *foreground) yield(ctx context.Context, wrote int64, took time.Duration) error {
	before := f.seen
	if err := f.forget(); err != nil {
		return err
	}
	if f.seen-before > wrote/512 {
		f.active = time.Now().Add(activeAfter)
	}
	if !f.busy() || f.nearlyFull() {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(min(maxRest, restShare*took)):
	}
	return nil
}

func (f *foreground) nearlyFull() bool {
	var s unix.Statfs_t
	return unix.Statfs(f.dir, &s) == nil && int64(s.Bavail)*s.Bsize < f.hurry
}

// sectors is the sum of what was read and written, as the kernel's
// Documentation/block/stat.rst has it.
func (f *foreground) sectors() (int64, error) {
	raw, err := os.ReadFile(f.stat)
	if err != nil {
		return 0, err
	}
	var skip, read, written int64
	if _, err := fmt.Sscan(strings.TrimSpace(string(raw)), &skip, &skip, &read, &skip, &skip, &skip, &written); err != nil {
		return 0, fmt.Errorf("%s: %w", f.stat, err)
	}
	return read + written, nil
}
