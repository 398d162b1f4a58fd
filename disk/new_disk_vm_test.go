//go:build vm

package disk

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inNewDiskGuest is set where the tests named TestFresh run: in a VM, as root, with
// the blank disks of newDisks.
const inNewDiskGuest = "DISK_TEST_IN_NEW_DISK_GUEST"

var newDisks = []struct {
	path string
	size int64
}{
	{"/dev/vda", 256 * mib}, {"/dev/vdb", 2 * gib}, {"/dev/vdc", 64 * gib}, {"/dev/vdd", 2 * gib}, {"/dev/vde", 480 * mib},
	{"/dev/vdf", 600 * mib}, {"/dev/vdg", tib}, {"/dev/vdh", 9 * tib}, {"/dev/vdi", 9 * tib}, {"/dev/vdj", 30 * gib},
	{"/dev/vdk", tib}, {"/dev/vdl", 9 * tib}, {"/dev/vdm", 16*tib - 8*gib},
}

// TestNewDisks runs this test binary in a VM; FRESH chooses of the tests there.
func TestNewDisks(t *testing.T) {
	run := cmp.Or(os.Getenv("FRESH"), "^TestFresh")
	result := onNewDisks(t, t.Output(), 25*time.Minute, inNewDiskGuest+"=1 ./disk.test -test.v -test.timeout 25m -test.run '"+run+"'")
	assert.Zero(t, result.ExitCode)
	assert.Contains(t, result.Output, "--- PASS: TestFresh")
}

// onNewDisks runs this test binary in a VM with newDisks.
func onNewDisks(t *testing.T, console io.Writer, limit time.Duration, run string) vmtest.Result {
	t.Helper()
	var sizes []int64
	for _, d := range newDisks {
		sizes = append(sizes, d.size)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return runSelf(ctx, t, vmtest.Config{Disks: blankDisks(t, sizes...), Console: console}, "GODEBUG=cpu.sse41=off "+run)
}

func newDiskGuestOnly(t *testing.T) {
	t.Helper()
	if os.Getenv(inNewDiskGuest) == "" {
		t.Skip("runs in a VM, through TestNewDisks")
	}
}

// made is a new disk that is mapped and mounted.
type made struct {
	*Device
	key     keys.DiskKey
	mapping string
	dir     string
	format  time.Duration
	took    time.Duration // until it is mounted
}

func makeDisk(t *testing.T, path, name string, extent Extent) made {
	t.Helper()
	m := made{key: keys.RandomDiskKey(), mapping: "/dev/mapper/" + name, dir: t.TempDir()}
	began := time.Now()
	blank, err := Open(t.Context(), path)
	require.NoError(t, err)
	m.Device, err = blank.Format(t.Context(), m.key, extent, func(Progress) {})
	require.NoError(t, err)
	m.format = time.Since(began)
	m.mount(t)
	m.took = time.Since(began)
	return m
}

func (m made) mount(t *testing.T) {
	t.Helper()
	require.NoError(t, m.Unlock(t.Context(), filepath.Base(m.mapping), m.key))
	require.NoError(t, unix.Mount(m.mapping, m.dir, "ext4", 0, ""))
}

func (m made) unmount(t *testing.T) {
	t.Helper()
	require.NoError(t, unix.Unmount(m.dir, 0))
	require.NoError(t, Close(filepath.Base(m.mapping)))
}

// grow grows until it is complete, or until enough says so.
func (m made) grow(t *testing.T, enough func(Progress) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := Grow(ctx, m.mapping, m.dir, func(p Progress) {
		if enough(p) {
			cancel()
		}
	})
	if ctx.Err() == nil {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, context.Canceled)
}

func never(Progress) bool { return false }

// more is enough when the file system is so much larger than now.
func more(t *testing.T, m made, bytes int64) func(Progress) bool {
	t.Helper()
	now, err := Growth(m.mapping)
	require.NoError(t, err)
	return func(p Progress) bool { return p.Done >= now.Done+bytes }
}

// sound unmounts a disk and looks at all of it: the file system is clean, and every
// sector of the mapped device can be read.
func (m made) sound(t *testing.T) {
	t.Helper()
	require.NoError(t, unix.Unmount(m.dir, 0))
	command(t, nil, "e2fsck", "-f", "-n", m.mapping)
	command(t, nil, "dd", "if="+m.mapping, "of=/dev/null", "bs=1M", "iflag=direct", "status=none")
	require.NoError(t, unix.Mount(m.mapping, m.dir, "ext4", 0, ""))
}

// quietKernel fails if the kernel has said that something could not be read.
func quietKernel(t *testing.T) {
	t.Helper()
	bad := regexp.MustCompile(`(?m)^.*(INTEGRITY AEAD ERROR|I/O error|EXT4-fs error).*$`)
	assert.Empty(t, bad.FindAllString(command(t, nil, "dmesg"), -1))
}

// writtenTo is how many bytes a device was given, by anybody.
func writtenTo(t *testing.T, path string) int64 {
	t.Helper()
	raw, err := os.ReadFile("/sys/class/block/" + filepath.Base(path) + "/stat")
	require.NoError(t, err)
	var skip, sectors int64
	_, err = fmt.Sscan(string(raw), &skip, &skip, &skip, &skip, &skip, &skip, &sectors)
	require.NoError(t, err)
	return sectors * 512
}

// TestFreshIsUsable: what a new disk costs is what it takes to wipe the first region,
// whatever the size of the disk, and no tool that looks at it finds a sector that
// cannot be read. The times are those of one run on one machine.
func TestFreshIsUsable(t *testing.T) {
	newDiskGuestOnly(t)
	command(t, nil, "dmesg", "--clear")
	var all []made
	for i, d := range newDisks[:4] {
		extent := FirstRegion
		if i == 3 {
			extent = Whole
		}
		before := writtenTo(t, d.path)
		m := makeDisk(t, d.path, fmt.Sprintf("new%d", i), extent)
		all = append(all, m)
		bytes := writtenTo(t, d.path) - before
		p, err := Growth(m.mapping)
		require.NoError(t, err)
		t.Logf("%d MiB: usable after %.1f s and %d MiB, with %d MiB", d.size/mib, m.took.Seconds(), bytes/mib, p.Done/mib)
		assert.LessOrEqual(t, bytes, (p.Done+endRegion)*9/8+48*mib, "nothing is written but the first region, tags and journals")
	}
	assert.LessOrEqual(t, all[1].took, all[3].took/2, "half of a full wipe")
	command(t, nil, "udevadm", "settle")
	for _, m := range all {
		command(t, nil, "blkid", "-p", m.mapping)
		command(t, nil, "/usr/lib/systemd/systemd-makefs", "ext4", m.mapping)
	}
	for _, i := range []int{0, 3} {
		p, err := Growth(all[i].mapping)
		require.NoError(t, err)
		assert.Equal(t, p.Total, p.Done, "%d is complete", i)
		all[i].grow(t, never)
		all[i].unmount(t)
	}
	all[2].grow(t, more(t, all[2], gib))
	all[2].unmount(t)
	t.Run("foreground", func(t *testing.T) { testForeground(t, all[1]) })
	quietKernel(t)
}

// testForeground has somebody write, with fsync, before and during the growth of a
// disk that is restarted then.
func testForeground(t *testing.T, m made) {
	alone := fsyncs(t, m.dir, make(chan struct{}), 200)
	stop, done := make(chan struct{}), make(chan []time.Duration)
	go func() { done <- fsyncs(t, m.dir, stop, 1<<20) }()
	began := time.Now()
	m.grow(t, more(t, m, 160*mib))
	took := time.Since(began)
	close(stop)
	during := <-done
	require.Greater(t, len(during), 50)
	t.Logf("write and fsync: median %v alone, %v during %.0f s of growth (%.2f of it)",
		median(alone), median(during), took.Seconds(), median(during).Seconds()/median(alone).Seconds())
	assert.LessOrEqual(t, median(during), 2*median(alone))

	before, err := Growth(m.mapping)
	require.NoError(t, err)
	m.unmount(t)
	m.mount(t)
	after, err := Growth(m.mapping)
	require.NoError(t, err)
	assert.Equal(t, before, after, "a restart loses nothing that was grown over")
	began = time.Now()
	m.grow(t, more(t, m, 352*mib))
	after, err = Growth(m.mapping)
	require.NoError(t, err)
	t.Logf("growth alone: %.1f MiB/s", float64(after.Done-before.Done)/float64(mib)/time.Since(began).Seconds())
	m.unmount(t)
}

// fsyncs writes 4 KiB and fsyncs it, again and again, and returns how long each took.
func fsyncs(t *testing.T, dir string, stop chan struct{}, most int) (all []time.Duration) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "written"))
	assert.NoError(t, err)
	defer f.Close()
	block := make([]byte, 4096)
	for i := range most {
		select {
		case <-stop:
			return all
		default:
		}
		began := time.Now()
		_, err := f.WriteAt(block, int64(i%1000)*4096)
		assert.NoError(t, err)
		assert.NoError(t, f.Sync())
		all = append(all, time.Since(began))
	}
	return all
}

func median(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// luksFormat has cryptsetup make the same disk, without a file system, and wipe it.
func luksFormat(t *testing.T, path string) time.Duration {
	t.Helper()
	began := time.Now()
	command(t, keys.RandomDiskKey().Bytes(), "cryptsetup", "luksFormat", "--batch-mode", "--type=luks2", "--cipher=aes-xts-plain64", "--key-size=512",
		"--integrity=hmac-sha256", "--sector-size=4096", "--pbkdf=argon2id", "--pbkdf-memory=32", "--pbkdf-parallel=1", "--pbkdf-force-iterations=4", "--key-file=-", path)
	return time.Since(began)
}

// TestFreshFullWipe: a full wipe is no slower than cryptsetup's own on the same
// disk, but for what a busy machine does to either, and leaves no sector out.
func TestFreshFullWipe(t *testing.T) {
	newDiskGuestOnly(t)
	command(t, nil, "dmesg", "--clear")
	path := newDisks[4].path
	theirs := luksFormat(t, path)
	require.NoError(t, onStorage(path, markInterrupted))
	m := makeDisk(t, path, "wiped", Whole)
	t.Logf("luksFormat %.1f s, full wipe with file system %.1f s", theirs.Seconds(), m.format.Seconds())
	assert.LessOrEqual(t, m.format, theirs*5/4)
	p, err := Growth(m.mapping)
	require.NoError(t, err)
	assert.Equal(t, p.Total, p.Done)
	m.sound(t)
	m.unmount(t)
	quietKernel(t)
}
