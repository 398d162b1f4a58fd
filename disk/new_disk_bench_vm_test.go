//go:build vm

package disk

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inBenchGuest is set where the tests named TestMeasure run: in a VM, as root, with
// the blank disks of newDisks.
const inBenchGuest = "DISK_TEST_IN_BENCH_GUEST"

// TestBenchNewDisks runs this test binary in a VM and prints tables; make bench
// asks for it.
func TestBenchNewDisks(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("measures nothing that could fail: make bench runs it")
	}
	result := onNewDisks(t, nil, 40*time.Minute, inBenchGuest+"=1 ./disk.test -test.v -test.timeout 40m -test.run '^TestMeasure'")
	require.Zero(t, result.ExitCode, result.Output)
	for line := range strings.Lines(result.Output) {
		if strings.HasPrefix(line, "| ") {
			fmt.Print(line)
		}
	}
}

func benchGuestOnly(t *testing.T) {
	t.Helper()
	if os.Getenv(inBenchGuest) == "" {
		t.Skip("runs in a VM, through TestBenchNewDisks")
	}
}

// TestMeasureNewDisks prints how long new disks take, against a full wipe of ours
// and of cryptsetup's.
func TestMeasureNewDisks(t *testing.T) {
	benchGuestOnly(t)
	fmt.Println("| disk | usable after | complete after | growth | written until usable |")
	for i, d := range newDisks[:3] {
		before := writtenTo(t, d.path)
		m := makeDisk(t, d.path, fmt.Sprintf("bench%d", i), FirstRegion)
		written := (writtenTo(t, d.path) - before) / mib
		p, err := Growth(m.mapping)
		require.NoError(t, err)
		most := min(p.Total, 2*gib) // a large one takes too long here
		began := time.Now()
		m.grow(t, func(now Progress) bool { return most < p.Total && now.Done >= most })
		grew := time.Since(began)
		rate := float64(most-p.Done) / float64(mib) / grew.Seconds()
		complete := m.took + grew
		how := ""
		if most < p.Total {
			complete += time.Duration(float64(p.Total-most) / float64(mib) / rate * float64(time.Second))
			how = ", at the rate of its first 2 GiB"
		}
		fmt.Printf("| %d MiB | %.1f s | %.0f s%s | %.0f MiB/s | %d MiB |\n", d.size/mib, m.took.Seconds(), complete.Seconds(), how, rate, written)
		m.unmount(t)
	}
	const full = 3
	m := makeDisk(t, newDisks[full].path, "full", Whole)
	m.unmount(t)
	cryptsetup := luksFormat(t, newDisks[full].path)
	fmt.Printf("| %d MiB, full wipe | %.1f s | %.1f s | | |\n", newDisks[full].size/mib, m.took.Seconds(), m.took.Seconds())
	fmt.Printf("| the same, format only: ours %.1f s, cryptsetup luksFormat without a file system %.1f s (%.2f of ours) |\n",
		m.format.Seconds(), cryptsetup.Seconds(), cryptsetup.Seconds()/m.format.Seconds())
}

// blockZeroOut is BLKZEROOUT, _IO(0x12, 127).
const blockZeroOut = 0x127f

// TestMeasureWipe prints what the constants in wipe.go were chosen by.
func TestMeasureWipe(t *testing.T) {
	benchGuestOnly(t)
	path := newDisks[3].path
	require.NoError(t, onStorage(path, markInterrupted)) // whatever is on it
	prepared, err := Open(t.Context(), path)
	require.NoError(t, err)
	volumeKey := random(volumeKeySize)
	require.NoError(t, formatIntegrity(path, journalSize(prepared.size), keys.NewDiskID(), volumeKey, func(mapping string) error {
		at := int64(0)
		fmt.Println("| block | writers | direct writes | BLKZEROOUT |")
		for _, block := range []int64{64 << 10, 256 << 10, 1 << 20, 4 << 20} {
			for _, writers := range []int{1, 2, 4} {
				var rates []float64
				for _, zeroOut := range []bool{false, true} {
					s := span{at, at + 64*mib}
					at = s.to
					rates = append(rates, rate(t, mapping, s, block, writers, zeroOut))
				}
				fmt.Printf("| %d KiB | %d | %.0f MiB/s | %.0f MiB/s |\n", block>>10, writers, rates[0], rates[1])
			}
		}
		return nil
	}))
}

func rate(t *testing.T, mapping string, s span, block int64, writers int, zeroOut bool) float64 {
	t.Helper()
	f, err := os.OpenFile(mapping, os.O_WRONLY|unix.O_DIRECT, 0)
	require.NoError(t, err)
	defer f.Close()
	zeros, err := unix.Mmap(-1, 0, int(block), unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	defer func() { _ = unix.Munmap(zeros) }()
	write := func(at int64) error { _, err := f.WriteAt(zeros, at); return err }
	if zeroOut {
		write = func(at int64) error {
			part := [2]uint64{uint64(at), uint64(block)}
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), blockZeroOut, uintptr(unsafe.Pointer(&part)))
			if errno != 0 {
				return errno
			}
			return nil
		}
	}
	var next atomic.Int64
	var all sync.WaitGroup
	next.Store(s.from)
	began := time.Now()
	for range writers {
		all.Go(func() {
			for at := next.Add(block) - block; at < s.to; at = next.Add(block) - block {
				if !assert.NoError(t, write(at)) {
					return
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, f.Sync())
	return float64(s.size()) / float64(mib) / time.Since(began).Seconds()
}
