//go:build vm

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest/nbd"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Where the guest finds the disk that lies, and the one on which it writes the
// next lie.
const (
	lyingPath = "/dev/vdc"
	liesPath  = "/dev/vdd"
)

// The lies of a lyingDisk.
const (
	honest       = "honest"
	nullSegment  = "segment"  // from the second read of a sector on
	otherKeyslot = "keyslot"  // from the second read of a sector on
	silent       = "silent"   // no read is answered before the next lie
	failing      = "error-at" // reads of the sector at an offset fail
)

// lyingDisk is a disk of a host that answers as it likes.
type lyingDisk struct {
	mu      sync.Mutex
	content []byte
	lie     string
	at      int64          // for failing
	hostile []byte         // what later reads of the metadata see, or nil
	served  map[int64]bool // sectors that were read since the lie began
	next    chan struct{}  // closed when the next lie begins
}

func newLyingDisk() *lyingDisk {
	return &lyingDisk{content: make([]byte, minSize), lie: honest, next: make(chan struct{})}
}

func (d *lyingDisk) Size() int64 { return int64(len(d.content)) }

func (d *lyingDisk) WriteAt(p []byte, offset int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(d.content[offset:], p), nil
}

func (d *lyingDisk) ReadAt(p []byte, offset int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.lie == silent {
		next := d.next
		d.mu.Unlock()
		<-next
		d.mu.Lock()
	}
	if d.lie == failing && offset <= d.at && d.at < offset+int64(len(p)) {
		return 0, errors.New("no answer for this sector")
	}
	copy(p, d.content[offset:])
	for at := offset; d.hostile != nil && at < min(offset+int64(len(p)), metadataSize); at += 512 {
		if d.served[at] {
			copy(p[at-offset:], d.hostile[at:at+512])
		}
		d.served[at] = true
	}
	return len(p), nil
}

// begin takes the next lie from the guest.
func (d *lyingDisk) begin(t *testing.T, lie string, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lie, d.at, d.hostile, d.served = lie, at, nil, map[int64]bool{}
	switch lie {
	case nullSegment:
		d.hostile = bytes.Clone(d.content[:metadataSize])
		editJSON(t, d.hostile, `"encryption":"aes-xts-plain64","sector_size"`, `"encryption":"cipher_null-ecb","sector_size"`)
	case otherKeyslot:
		h, area, _ := preparedDisk(t)
		h.metadata.Tokens = joinedTokens(salt(t))
		d.hostile = image(t, h, area)
	}
	close(d.next)
	d.next = make(chan struct{})
}

// lies is the disk on which the guest writes what the lyingDisk is to do next.
type lies struct {
	t    *testing.T
	disk *lyingDisk
}

func (lies) Size() int64 { return 1 << 20 }

func (lies) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

func (l lies) WriteAt(p []byte, _ int64) (int, error) {
	var lie string
	var at int64
	text, _, _ := bytes.Cut(p, []byte{0})
	if _, err := fmt.Sscan(string(text), &lie, &at); err != nil {
		return 0, err
	}
	l.disk.begin(l.t, lie, at)
	return len(p), nil
}

// serveLies starts the two disks and returns where QEMU finds them.
func serveLies(ctx context.Context, t *testing.T) []string {
	t.Helper()
	disk := newLyingDisk()
	var urls []string
	for _, d := range []nbd.Disk{disk, lies{t, disk}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		ctx, cancel := context.WithCancel(ctx)
		go func() { served <- nbd.Serve(ctx, listener, d) }()
		t.Cleanup(func() { cancel(); assert.NoError(t, <-served) })
		urls = append(urls, "nbd://"+listener.Addr().String())
	}
	return urls
}

// tell begins a lie. What the guest's kernel remembers of the disk is forgotten.
func tell(t *testing.T, lie string, at int64) {
	t.Helper()
	command(t, nil, "udevadm", "settle") // its reads count, too
	block := make([]byte, 4096)
	copy(block, fmt.Sprintln(lie, at))
	require.NoError(t, onStorage(liesPath, func(s storage) error { return writeSynced(s, block, 0) }))
	forget(t, lyingPath)
}

// forget empties the kernel's cache of a block device.
func forget(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	require.NoError(t, errors.Join(unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0), f.Close()))
}

// TestGuestLyingDisk: only the first snapshot counts, and a disk that does not
// answer is never a new disk.
func TestGuestLyingDisk(t *testing.T) {
	guestOnly(t)
	key := joinLyingDisk(t)
	t.Run("null segment from the second read on", func(t *testing.T) {
		tell(t, nullSegment, 0)
		onlyTheFirstCounts(t, key)
		forget(t, lyingPath)
		_, err := Open(t.Context(), lyingPath)
		var refusal *Refusal
		require.ErrorAs(t, err, &refusal)
		assert.Contains(t, refusal.Field, "segment encryption")
	})
	t.Run("other keyslot from the second read on", func(t *testing.T) {
		tell(t, otherKeyslot, 0)
		onlyTheFirstCounts(t, key)
		forget(t, lyingPath)
		d, err := Open(t.Context(), lyingPath)
		require.NoError(t, err)
		assert.ErrorIs(t, d.Prove(key), keys.ErrWrongKey)
	})
	for name, at := range map[string]int64{
		"first sector": 0, "first JSON": binarySize, "second header": headerSize, "keyslot area": headersSize + 8192,
		"superblock": metadataSize,
	} {
		t.Run("read error, "+name, func(t *testing.T) {
			tell(t, failing, at)
			d, err := Open(t.Context(), lyingPath)
			require.ErrorIs(t, err, unix.EIO)
			assert.ErrorContains(t, err, "reading "+lyingPath)
			assert.Nil(t, d)
		})
	}
	for name, at := range map[string]int64{"unused keyslots": 5 << 20, "end": minSize - 4096} {
		t.Run("read error where nothing is read, "+name, func(t *testing.T) {
			tell(t, failing, at)
			d, err := Open(t.Context(), lyingPath)
			require.NoError(t, err)
			assert.Equal(t, Joined, d.State())
		})
	}
	t.Run("no answer", noAnswer)
}

// joinLyingDisk makes a good disk, while the disk is still honest.
func joinLyingDisk(t *testing.T) keys.DiskKey {
	t.Helper()
	first, final := keys.RandomDiskKey(), keys.RandomDiskKey()
	d, err := Open(t.Context(), lyingPath)
	require.NoError(t, err)
	d, err = d.Format(t.Context(), first, FirstRegion, func(Progress) {})
	require.NoError(t, err)
	require.NoError(t, d.Enroll(first, final, salt(t)))
	return final
}

// onlyTheFirstCounts opens a disk that shows another header ever after, and unlocks
// what was opened.
func onlyTheFirstCounts(t *testing.T, key keys.DiskKey) {
	t.Helper()
	const mapping = "lied"
	d, err := Open(t.Context(), lyingPath)
	require.NoError(t, err)
	require.Equal(t, Joined, d.State())
	first, err := d.header.image(d.area)
	require.NoError(t, err)
	forget(t, lyingPath)
	require.False(t, bytes.Equal(first, headerOf(t, lyingPath)), "the disk does not lie")

	require.NoError(t, d.Prove(key))
	require.NoError(t, d.Unlock(t.Context(), mapping, key))
	table := command(t, nil, "dmsetup", "table", mapping)
	assert.Contains(t, table, "capi:authenc(hmac(sha256),xts(aes))-plain64")
	assert.Contains(t, table, "integrity:32:aead")
	command(t, nil, "dd", "if=/dev/mapper/"+mapping, "of=/dev/null", "bs=1M", "status=none")
	require.NoError(t, Close(mapping))
}

// silentChild is set where TestSilentDisk runs: in a process of its own, so that it
// shows that a process with a read that never ends can end.
const silentChild = "DISK_TEST_SILENT"

// noAnswer holds the disk open: the kernel does not let the last user of a block
// device go while a read is under way, not even if it is killed.
func noAnswer(t *testing.T) {
	held, err := os.Open(lyingPath)
	require.NoError(t, err)
	defer held.Close()
	tell(t, silent, 0)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^TestSilentDisk$")
	child.Env = append(os.Environ(), silentChild+"=1")
	type result struct {
		out []byte
		err error
	}
	ended := make(chan result, 1)
	go func() { out, err := child.CombinedOutput(); ended <- result{out, err} }()
	select {
	case r := <-ended:
		assert.NoError(t, r.err, "%s", r.out)
		assert.Contains(t, string(r.out), "--- PASS: TestSilentDisk")
	case <-time.After(time.Minute):
		t.Error("the process did not end")
	}
	tell(t, honest, 0)
	d, err := Open(t.Context(), lyingPath)
	require.NoError(t, err, "the disk answers again")
	assert.Equal(t, Joined, d.State())
}

func TestSilentDisk(t *testing.T) {
	if os.Getenv(silentChild) == "" {
		t.Skip("run by TestGuestLyingDisk")
	}
	gone := errors.New("waited long enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
	defer cancel()
	d, err := Open(ctx, lyingPath)
	require.ErrorIs(t, err, gone)
	assert.Nil(t, d)
}
