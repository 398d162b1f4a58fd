//go:build vm

package disk

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mains is a disk whose power can be cut: from then on nothing is written, and
// every operation fails.
type mains struct {
	disk string // below
	path string
	size int64
}

func newMains(t *testing.T, disk string) mains {
	t.Helper()
	m := mains{disk, "/dev/mapper/mains", sizeOf(t, disk)}
	command(t, nil, "dmsetup", "create", "mains", "--table", m.table())
	return m
}

func (m mains) table() string { return fmt.Sprintf("0 %d linear %s 0", m.size/512, m.disk) }

func (m mains) swap(t *testing.T, table string) {
	t.Helper()
	command(t, nil, "dmsetup", "load", "mains", "--table", table)
	command(t, nil, "dmsetup", "suspend", "--noflush", "--nolockfs", "mains")
	command(t, nil, "dmsetup", "resume", "mains")
}

// written is how many bytes the disk was ever given.
func (m mains) written(t *testing.T) int64 {
	t.Helper()
	return writtenTo(t, deviceOf(t, m.path))
}

// deviceOf is the name in sysfs of a mapping, too.
func deviceOf(t *testing.T, path string) string {
	t.Helper()
	device, err := filepath.EvalSymlinks(path)
	require.NoError(t, err)
	return device
}

// during cuts the power when so many bytes have been written since its begin, in
// the middle of what use does, or when use ends; and turns it on again.
func (m mains) during(t *testing.T, bytes int64, use func() error) error {
	t.Helper()
	end, used := m.written(t)+bytes, make(chan error, 1)
	go func() { used <- use() }()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	var err error
	for ended := false; !ended && m.written(t) < end; {
		select {
		case err = <-used:
			ended = true
			used <- err
		case <-poll.C:
		}
	}
	m.swap(t, fmt.Sprintf("0 %d error", m.size/512))
	err = <-used
	m.swap(t, m.table())
	command(t, nil, "blockdev", "--flushbufs", m.path)
	return err
}

// fragile is a node's disk through all its boots, and what must be on it.
type fragile struct {
	mains
	first, final keys.DiskKey
	salt         keys.MeasurementSalt
	dir          string
	files        map[string][32]byte // written with fsync
	grown        int64               // the file system's size, as last reported
	phases       map[string]int64    // bytes written until each was over
	start        int64
}

const fragileName = "fragile"

// boot is all of one boot, from a disk in any state, until the power is cut.
func (f *fragile) boot(t *testing.T) error {
	f.start = f.written(t)
	d, err := Open(t.Context(), f.path)
	if err != nil {
		return err
	}
	key := f.final
	if d.State() != Joined {
		if d, err = f.format(t, d); err != nil {
			return err
		}
		key = f.first
	}
	if err := d.Unlock(t.Context(), fragileName, key); err != nil {
		return err
	}
	err = f.mounted(t, d)
	return errors.Join(err, Close(fragileName))
}

func (f *fragile) format(t *testing.T, d *Device) (*Device, error) {
	f.files, f.grown = map[string][32]byte{}, 0
	d, err := d.Format(t.Context(), f.first, FirstRegion, func(p Progress) {
		if f.phases["integrity"] == 0 {
			f.over(t, "integrity")
		}
		if p.Done == p.Total {
			f.over(t, "wipe")
		}
	})
	f.over(t, "format")
	return d, err
}

func (f *fragile) over(t *testing.T, phase string) {
	if f.phases != nil {
		f.phases[phase] = f.written(t) - f.start
	}
}

// mounted is what the booted system does.
func (f *fragile) mounted(t *testing.T, d *Device) error {
	if err := unix.Mount("/dev/mapper/"+fragileName, f.dir, "ext4", 0, ""); err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(f.dir, 0) }()
	if err := f.check(); err != nil {
		return err
	}
	if d.State() != Joined {
		if err := WriteNodeState(f.dir, RoleWorker, f.salt); err != nil {
			return err
		}
		if err := d.Enroll(f.first, f.final, f.salt); err != nil {
			return err
		}
	}
	f.over(t, "enrol")
	ctx, cancel := context.WithCancel(t.Context())
	wrote := make(chan struct{})
	go func() { defer close(wrote); f.write(ctx) }()
	err := Grow(t.Context(), "/dev/mapper/"+fragileName, f.dir, func(p Progress) { f.grown = p.Done })
	cancel()
	<-wrote
	f.over(t, "growth")
	return err
}

// errLost is what must not happen.
var errLost = errors.New("lost")

// check fails with errLost unless all is there that was safe.
func (f *fragile) check() error {
	for name, sum := range f.files {
		raw, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil || sha256.Sum256(raw) != sum {
			return fmt.Errorf("%w: %s: %w", errLost, name, err)
		}
	}
	p, err := Growth("/dev/mapper/" + fragileName)
	if err == nil && p.Done < f.grown {
		err = fmt.Errorf("%w: %d bytes of %d that were grown over", errLost, p.Done, f.grown)
	}
	return err
}

// write makes files, and remembers those that are safe.
func (f *fragile) write(ctx context.Context) {
	for ctx.Err() == nil && len(f.files) < 100 {
		content := make([]byte, 20_000)
		_, _ = rand.Read(content)
		name := fmt.Sprintf("file-%d", len(f.files))
		file, err := os.Create(filepath.Join(f.dir, name))
		if err != nil {
			return
		}
		_, err = file.Write(content)
		if err = errors.Join(err, file.Sync(), file.Close(), syncFS(f.dir)); err != nil {
			return
		}
		f.files[name] = sha256.Sum256(content)
	}
}

// cuts are 25 points of a life, in bytes from the begin of a boot; from the first
// that hits a growth on, each boot goes on where the one before was.
func cuts(phases map[string]int64) (all []int64) {
	spread := func(from, to int64, n int64) {
		for i := range n {
			all = append(all, from+(to-from)*(2*i+1)/(2*n))
		}
	}
	header := phases["format"] - metadataSize
	spread(0, phases["integrity"], 3)
	spread(phases["integrity"], phases["wipe"], 5)
	spread(phases["wipe"], header, 3) // mkfs
	spread(header, phases["format"], 2)
	spread(phases["format"], phases["enrol"], 3)
	for range 9 {
		all = append(all, (phases["growth"]-phases["enrol"])/11)
	}
	return all
}

// TestFreshCuts cuts the power of one disk 25 times, from its first format to the
// end of its growth.
func TestFreshCuts(t *testing.T) {
	newDiskGuestOnly(t)
	region := firstRegionTime
	firstRegionTime = 0 // as large in each boot
	t.Cleanup(func() { firstRegionTime = region })
	f := &fragile{
		mains: newMains(t, newDisks[4].path), first: keys.RandomDiskKey(), final: keys.RandomDiskKey(),
		salt: salt(t), dir: t.TempDir(), phases: map[string]int64{},
	}
	require.NoError(t, f.boot(t))
	points := cuts(f.phases)
	require.Len(t, points, 25)
	t.Logf("bytes until the end of each phase: %v", f.phases)
	f.phases = nil
	zeroOut(t, f.path, f.size)
	blank, err := Open(t.Context(), f.path)
	require.NoError(t, err)
	require.Equal(t, Blank, blank.State())
	seen := map[State]int{}
	for i, bytes := range points {
		before := f.written(t)
		err := f.during(t, bytes, func() error { return f.boot(t) })
		require.NotErrorIs(t, err, errLost, "cut %d", i)
		d, openErr := Open(t.Context(), f.path)
		require.NoError(t, openErr, "cut %d", i)
		seen[d.State()]++
		require.NotEqual(t, Blank, d.State(), "cut %d: something was written, and no mark before it", i)
		t.Logf("cut %d after %d MiB: %v, file system of %d MiB, %d files: %v", i, (f.written(t)-before)/mib, d.State(), f.grown/mib, len(f.files), err)
		if len(f.files) > 0 {
			require.Equal(t, Joined, d.State(), "cut %d", i)
		}
	}
	assert.GreaterOrEqual(t, seen[Prepared], 12)
	assert.GreaterOrEqual(t, seen[Joined], 9)

	files := maps.Clone(f.files)
	require.NoError(t, f.boot(t))
	require.Subset(t, f.files, files)
	d, err := Open(t.Context(), f.path)
	require.NoError(t, err)
	m := made{Device: d, key: f.final, mapping: "/dev/mapper/" + fragileName, dir: f.dir}
	m.mount(t)
	require.NoError(t, f.check())
	p, err := Growth(m.mapping)
	require.NoError(t, err)
	assert.Equal(t, p.Total, p.Done)
	m.sound(t)
	m.unmount(t)
	command(t, nil, "dmsetup", "remove", "--retry", "mains")
}
