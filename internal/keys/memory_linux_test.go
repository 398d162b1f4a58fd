package keys

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// flagsOf returns what the kernel says of the mapping that holds b.
func flagsOf(t *testing.T, b []byte) []string {
	t.Helper()
	smaps, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer smaps.Close()
	address, inside := uintptr(unsafe.Pointer(&b[0])), false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			inside = from <= address && address < to
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags: "); ok && inside {
			return strings.Fields(flags)
		}
	}
	require.Fail(t, "no mapping holds the secret")
	return nil
}

// TestSecretsAreLocked: lo is locked, dd is left out of core files, wf is empty
// in a forked child.
func TestSecretsAreLocked(t *testing.T) {
	require.NoError(t, Locked(), "needs a few KiB of RLIMIT_MEMLOCK")
	raw := make([]byte, Size)
	pair, err := NewPair(raw, raw)
	require.NoError(t, err)
	master, err := NewMasterSecret(make([]byte, 5000), raw)
	require.NoError(t, err)
	derived, err := master.MeasurementSecret()
	require.NoError(t, err)
	for name, s := range map[string]secret{
		"disk key": pair.Disk.secret, "measurement secret": pair.Measurement.secret, "random": RandomDiskKey().secret,
		"clone": pair.Disk.Clone().secret, "derived": derived.secret, "master key": master.key, "master salt": master.salt,
	} {
		assert.Subset(t, flagsOf(t, s.Bytes()), []string{"lo", "dd", "wf"}, name)
	}
	assert.NotContains(t, flagsOf(t, raw), "lo")
}

// TestPlacesAreUsedAgain: a place comes back when the secret was wiped and is
// out of reach, and only then.
func TestPlacesAreUsedAgain(t *testing.T) {
	for name, n := range map[string]int{"of shared pages": Size, "of its own pages": 5000} {
		t.Run(name, func(t *testing.T) {
			home := new(memory)
			place := home.take(n)
			s := secret{&box{bytes: &place, home: home}}
			address := &s.Bytes()[0]
			s.Bytes()[0] = 'K'
			copied := s
			s.Wipe()
			s.Wipe()
			collect(t)
			assert.Equal(t, make([]byte, n), copied.Bytes(), "a use after Wipe reads zeros")
			assert.NotSame(t, address, &home.take(n)[0], "no place is used twice")
			runtime.KeepAlive(copied)
		})
	}

	home := new(memory)
	lost := secret{&box{bytes: new(home.take(Size)), home: home}}
	held := lost.Bytes()
	held[0] = 'K'
	runtime.KeepAlive(lost)
	collect(t)
	assert.Equal(t, byte('K'), held[0], "a slice may outlive a secret that nobody wiped")

	home = new(memory)
	page := os.Getpagesize() / Size
	for range 20 {
		for range page / 2 {
			secret{&box{bytes: new(home.take(Size)), home: home}}.Wipe()
		}
		collect(t)
	}
	home.mu.Lock()
	defer home.mu.Unlock()
	assert.GreaterOrEqual(t, len(home.free), page, "all places are back")
	assert.LessOrEqual(t, len(home.free), 2*page, "secrets of ten pages, half a page at a time")
}

// collect returns when the garbage collector has found all there was, and the
// cleanups have run.
func collect(t *testing.T) {
	t.Helper()
	for range 2 {
		done := make(chan struct{})
		runtime.AddCleanup(new(struct{ p *int }), func(done chan struct{}) { close(done) }, done)
		runtime.GC()
		<-done
	}
}

// TestWithoutRightToLock: the operator's command works where an ordinary user
// may lock nothing; a daemon can tell.
func TestWithoutRightToLock(t *testing.T) {
	runtime.LockOSThread() // for good: the thread loses its capabilities
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	require.NoError(t, unix.Capset(&header, &none[0]))
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Max: before.Max}))
	t.Cleanup(func() { assert.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &before)) })

	home := new(memory)
	copy(home.take(Size), "usable")
	assert.ErrorIs(t, home.unlocked, unix.EPERM)
	flags := flagsOf(t, home.take(Size))
	assert.NotContains(t, flags, "lo")
	assert.Contains(t, flags, "dd", "still not in a core file")
}

// BenchmarkPair is what one ticket costs. Pages of their own cost twenty times
// as much, and a hundred times the locked memory.
func BenchmarkPair(b *testing.B) {
	raw := make([]byte, Size)
	for b.Loop() {
		pair, err := NewPair(raw, raw)
		if err != nil {
			b.Fatal(err)
		}
		pair.Wipe()
	}
	vault.mu.Lock()
	defer vault.mu.Unlock()
	b.ReportMetric(float64(len(vault.free)*Size)/1024, "KiB-locked")
}
