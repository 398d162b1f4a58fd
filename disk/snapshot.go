package disk

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// readTimeout ends the wait for storage that does not answer. Cloud disks
// answer within milliseconds; a path failover may take tens of seconds.
const readTimeout = 60 * time.Second

// superblockSize is the dm-integrity superblock at the start of the data segment.
const superblockSize = 4096

// What is read of a disk that has no header. All of it together is some 1,400
// requests: half a second on a disk that takes 3,000 in a second.
const (
	headSize = metadataSize + superblockSize
	tailSize = 2 << 20   // where GPT, RAID and ZFS keep theirs
	readSize = 256 << 10 // the largest request that clouds count as one

	sampleSize    = 4096
	samples       = 1024    // at least, of which
	evenSamples   = 768     // at least evenly between head and tail
	denseSize     = 1 << 30 // file systems fill a disk from its start
	denseStep     = 2 << 20
	sampleReaders = 16 // at a time: with 1 ms for each request, 16,000 in a second
)

// snapshot is a disk as the verdict reads it: no byte twice, so that whatever the
// disk answers later cannot change the verdict.
type snapshot struct {
	disk io.ReaderAt
	size int64
}

// answered is what read returns. A read that fails, or is not done within
// readTimeout, is an error: never a sign of a new disk.
func answered[T any](ctx context.Context, path string, read func() (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout,
		fmt.Errorf("reading %s: storage did not answer within %v", path, readTimeout))
	defer cancel()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() { // a read in the kernel cannot be cancelled, only abandoned
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	case r := <-done:
		return r.value, r.err
	}
}

// inspect is Inspect, however long that takes.
func inspect(path string) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return Report{}, cmp.Or(err, error(&os.PathError{Op: "read", Path: path, Err: unix.EISDIR}))
	}
	n, err := nodeOf(f)
	if err != nil {
		return Report{}, err
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) // else each sample costs the disk 128 KiB; a pipe cannot
	r, err := snapshot{f, n.size}.report(identity{path: path, node: n})
	if err != nil {
		return r, fmt.Errorf("reading %s: %w", path, err)
	}
	return r, nil
}

// ReadError is for a disk that does not return one of its bytes.
type ReadError struct {
	At  int64 // the byte, or one within the same request before it
	Err error
}

func (e *ReadError) Error() string { return fmt.Sprintf("at byte %d: %v", e.At, e.Err) }

// Unwrap returns why.
func (e *ReadError) Unwrap() error { return e.Err }

func (s snapshot) readInto(b []byte, at int64) error {
	if n, err := s.disk.ReadAt(b, at); err != nil {
		return &ReadError{at + int64(n), err}
	}
	return nil
}

func (s snapshot) read(at, size int64) ([]byte, error) {
	b := make([]byte, size)
	if err := s.readInto(b, at); err != nil {
		return nil, err
	}
	return b, nil
}

// traces is what was found on a disk without a header. An area that is all zeros
// is nil: a new disk takes no memory.
type traces struct {
	size       int64
	head, tail []byte
	stray      int64 // the first byte that was found not to be zero; negative for none
}

// search reads what is left to read of a disk that begins with start. It looks
// for samples only where both ends are zeros: else the disk is refused anyhow.
func (s snapshot) search(start []byte) (traces, error) {
	t := traces{size: s.size, stray: -1}
	head, tail := span{0, headSize}, span{s.size - tailSize, s.size}
	t.keep(&t.head, head, 0, start)
	err := cmp.Or(s.gather(&t, &t.head, head, int64(len(start))), s.gather(&t, &t.tail, tail, tail.from))
	if err != nil || t.stray >= 0 {
		return t, err
	}
	return t, s.sample(&t)
}

// gather reads a part of the disk into area, from this byte of the disk on.
func (s snapshot) gather(t *traces, area *[]byte, part span, from int64) error {
	buffer := make([]byte, readSize)
	for at := from; at < part.to; at += readSize {
		block := buffer[:min(readSize, part.to-at)]
		if err := s.readInto(block, at); err != nil {
			return err
		}
		t.keep(area, part, at, block)
	}
	return nil
}

// keep copies a block of the disk into the area of its part, if it is not zeros.
func (t *traces) keep(area *[]byte, part span, at int64, block []byte) {
	if isZero(block) {
		return
	}
	if *area == nil {
		*area = make([]byte, part.size())
	}
	copy((*area)[at-part.from:], block)
	t.note(at, block)
}

// beginsWithZeros is for disks whose first sectors, or first sector, may have been wiped.
func (t traces) beginsWithZeros() bool { return t.head == nil || isZero(t.head[:512]) }

// note keeps where the first byte of a block is that is not zero.
func (t *traces) note(at int64, block []byte) {
	if i := slices.IndexFunc(block, func(b byte) bool { return b != 0 }); i >= 0 && (t.stray < 0 || at+int64(i) < t.stray) {
		t.stray = at + int64(i)
	}
}

// sample reads all samples and notes the first that is not zeros.
func (s snapshot) sample(t *traces) error {
	offsets := sampleOffsets(s.size)
	found := make([][]byte, len(offsets)) // nil for zeros
	var group errgroup.Group
	for reader := range sampleReaders {
		group.Go(func() error {
			for i := reader; i < len(offsets); i += sampleReaders {
				block, err := s.read(offsets[i], sampleSize)
				if err != nil {
					return err
				}
				if !isZero(block) {
					found[i] = block
				}
			}
			return nil
		})
	}
	err := group.Wait()
	for i, block := range found {
		t.note(offsets[i], block)
	}
	return err
}

// sampleOffsets are where a disk is looked at between its head and its tail, in
// order: densely where file systems begin, evenly over all of it, and where
// file systems keep spares of their superblocks.
func sampleOffsets(size int64) []int64 {
	const from = headSize
	to := size - tailSize - sampleSize
	offsets := spareSuperblocks(size)
	dense := min(size, denseSize) / denseStep
	for i := range dense {
		offsets = append(offsets, i*denseStep)
	}
	// Of the dense ones, some lie in the head, and some at the place of an even one.
	even := max(evenSamples, samples+2*headSize/denseStep-dense)
	for i := range even {
		offsets = append(offsets, (from+(to-from)/even*i)&^(sampleSize-1))
	}
	offsets = slices.DeleteFunc(offsets, func(at int64) bool { return at < from || at > to })
	slices.Sort(offsets)
	return slices.Compact(offsets)
}

// spareSuperblocks: of ext4 with blocks of 4096 bytes in groups of 128 MiB, of
// XFS with its usual four groups, of Btrfs. They may lie beyond the disk.
func spareSuperblocks(size int64) []int64 {
	offsets := []int64{64 << 20, 256 << 30}
	for _, base := range []int64{3, 5, 7} {
		for group := int64(1); group <= size/blockGroup; group *= base {
			offsets = append(offsets, group*blockGroup)
		}
	}
	quarter := (size/sampleSize + 3) / 4 * sampleSize
	return append(offsets, quarter, 2*quarter, 3*quarter)
}
