//go:build vm

package disk

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inBenchGuest is set where the tests named TestMeasure run: in a VM, as root, with
// the blank disks of newDisks.
const inBenchGuest = "DISK_TEST_IN_BENCH_GUEST"

// TestBenchNewDisks runs this test binary in a VM and prints tables; make bench
// asks for it. MEASURE chooses of the tests there.
func TestBenchNewDisks(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("measures nothing that could fail: make bench runs it")
	}
	result := onNewDisks(t, nil, 40*time.Minute, inBenchGuest+"=1 ./disk.test -test.v -test.timeout 40m -test.run '"+cmp.Or(os.Getenv("MEASURE"), "^TestMeasure")+"'")
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

// TestMeasureFirst prints how long new disks take until they can be used.
func TestMeasureFirst(t *testing.T) {
	benchGuestOnly(t)
	fmt.Println("| new disk | usable after | file system | free | written |")
	for _, d := range []struct {
		name, path string
	}{{"256 MiB", newDisks[0].path}, {"2 GiB", newDisks[1].path}, {"64 GiB", newDisks[2].path}, {"1 TiB", newDisks[6].path}, {"16 TiB", newDisks[12].path}} {
		before := writtenTo(t, deviceOf(t, d.path))
		m := makeDisk(t, d.path, "first", FirstRegion)
		bytes := writtenTo(t, deviceOf(t, d.path)) - before
		p, err := Growth(m.mapping)
		require.NoError(t, err)
		free, err := Free(m.dir)
		require.NoError(t, err)
		fmt.Printf("| %s | %.1f s | %d MiB | %d MiB | %d MiB |\n", d.name, m.took.Seconds(), p.Done/mib, free/mib, bytes/mib)
		m.unmount(t)
		require.NoError(t, onStorage(d.path, markInterrupted)) // for the next
	}
}

// TestMeasureEarlyWriters prints what becomes of whoever writes from the first moment
// on, and of one who waits for room first.
func TestMeasureEarlyWriters(t *testing.T) {
	benchGuestOnly(t)
	rate := wipeRate(t, newDisks[9].path)
	fmt.Printf("| early writers, with a wipe of %.1f MiB/s | written | grown |\n", rate/float64(mib))
	for _, d := range []struct{ name, path string }{{"30 GiB", newDisks[9].path}, {"1 TiB", newDisks[6].path}} {
		for _, share := range []float64{0.1, 0.25, 0.5, 0} {
			require.NoError(t, onStorage(d.path, markInterrupted))
			done, grown := earlyWriter{perSecond: rate * share, most: tib, lasts: 40 * time.Second}.during(t, d.path)
			how := fmt.Sprintf("%.0f %% of the wipe", share*100)
			if share == 0 {
				how = "as fast as it goes, 4 MiB at a time"
			}
			fmt.Printf("| %s, %s | %v | %d MiB |\n", d.name, how, done, grown/mib)
		}
	}
	require.NoError(t, onStorage(newDisks[6].path, markInterrupted))
	m := makeDisk(t, newDisks[6].path, "pull", FirstRegion)
	defer m.unmount(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Grow(ctx, m.mapping, m.dir, func(Progress) {}) }()
	began := time.Now()
	for free := int64(0); free < 4*gib; time.Sleep(200 * time.Millisecond) { // as grow -until does
		var err error
		free, err = Free(m.dir)
		require.NoError(t, err)
	}
	waited := time.Since(began)
	done := earlyWriter{most: 4*gib - 64*mib, lasts: time.Hour}.write(m.dir)
	cancel()
	require.ErrorIs(t, <-ended, ErrInterrupted)
	fmt.Printf("| 1 TiB, waits for 4 GiB: %.0f s, and pulls them | %v | |\n", waited.Seconds(), done)
}

// TestMeasureOthers prints what others wait for in the first minute of a growth.
func TestMeasureOthers(t *testing.T) {
	benchGuestOnly(t)
	fmt.Println("| write and fsync of 4 KiB | median | 99 of 100 | longest | growth |")
	print := func(name string, all []time.Duration, grown int64) {
		sorted := slices.Sorted(slices.Values(all))
		fmt.Printf("| %s | %v | %v | %v | %d MiB |\n", name, sorted[len(sorted)/2].Round(100*time.Microsecond),
			sorted[len(sorted)*99/100].Round(100*time.Microsecond), sorted[len(sorted)-1].Round(100*time.Microsecond), grown/mib)
	}
	require.NoError(t, onStorage(newDisks[6].path, markInterrupted))
	m := makeDisk(t, newDisks[6].path, "others", FirstRegion)
	defer m.unmount(t)
	print("alone", fsyncs(t, m.dir, make(chan struct{}), 500), 0)
	for _, busy := range []bool{false, true} {
		before, err := Growth(m.mapping)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Grow(ctx, m.mapping, m.dir, func(Progress) {}) }()
		stop, name := make(chan struct{}), "in the first minute of a growth"
		time.AfterFunc(time.Minute, func() { close(stop) })
		if busy {
			name = "while somebody else writes 20 MiB/s, too"
			go earlyWriter{perSecond: float64(20 * mib), most: tib, lasts: 55 * time.Second}.write(m.dir)
		}
		all := fsyncs(t, m.dir, stop, 1<<20)
		cancel()
		require.ErrorIs(t, <-ended, ErrInterrupted)
		after, err := Growth(m.mapping)
		require.NoError(t, err)
		print(name, all, after.Done-before.Done)
	}
}

// TestMeasureHuge prints how the kernel grows file systems to their largest, on disks
// that are zeros already, and fails unless e2fsck finds them clean.
func TestMeasureHuge(t *testing.T) {
	benchGuestOnly(t)
	fmt.Println("| growth from 256 MiB to | steps | took | e2fsck |")
	for _, size := range []int64{tib, 9 * tib, 16*tib + 512*mib} {
		began := time.Now()
		steps := growHuge(t, size, layout{size}.least())
		fmt.Printf("| %.4g TiB | %d | %.0f s with e2fsck | clean |\n", float64(size)/float64(tib), steps, time.Since(began).Seconds())
	}
}

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
			return makeZeros(f, span{at, at + block})
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
