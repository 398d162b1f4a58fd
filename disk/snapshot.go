package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// readTimeout ends the wait for storage that does not answer. Cloud disks
// answer within milliseconds; a path failover may take tens of seconds.
const readTimeout = 60 * time.Second

// superblockSize is the dm-integrity superblock at the start of the data segment.
const superblockSize = 4096

const (
	tailSize = 256 << 10
	// samples of sampleSize bytes, evenly over the disk, tell a disk that is all
	// zeros from one whose start was wiped.
	samples    = 64
	sampleSize = 4096
)

// snapshot is the disk's metadata, read once: whatever the disk answers later
// cannot change the verdict.
type snapshot struct {
	head []byte // the first 16 MiB and the superblock, or the whole of a smaller disk
	tail []byte // the last 256 KiB, where GPT and RAID keep theirs
	size int64
	// stray says where something else than zeros was found first; empty for nowhere.
	stray string
}

// takeSnapshot reads plainly, without any library. A read that fails, or is not
// done within readTimeout, is an error: never a sign of a new disk.
func takeSnapshot(ctx context.Context, path string) (snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout,
		fmt.Errorf("reading %s: storage did not answer within %v", path, readTimeout))
	defer cancel()
	type result struct {
		snapshot
		err error
	}
	read := make(chan result, 1)
	go func() { // a read in the kernel cannot be cancelled, only abandoned
		s, err := readMetadata(path)
		read <- result{s, err}
	}()
	select {
	case <-ctx.Done():
		return snapshot{}, context.Cause(ctx)
	case r := <-read:
		return r.snapshot, r.err
	}
}

func readMetadata(path string) (snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return snapshot{}, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return snapshot{}, fmt.Errorf("measuring %s: %w", path, err)
	}
	s := snapshot{size: size, head: make([]byte, min(size, metadataSize+superblockSize)), tail: make([]byte, min(size, tailSize))}
	_, headErr := f.ReadAt(s.head, 0)
	_, tailErr := f.ReadAt(s.tail, size-int64(len(s.tail)))
	if err := errors.Join(headErr, tailErr); err != nil {
		return snapshot{}, fmt.Errorf("reading the metadata of %s: %w", path, err)
	}
	if s.stray, err = s.findStray(f); err != nil {
		return snapshot{}, fmt.Errorf("reading samples of %s: %w", path, err)
	}
	return s, nil
}

// findStray reads more of the disk only if its start is all zeros.
func (s snapshot) findStray(f io.ReaderAt) (string, error) {
	if s.size < minSize || !isZero(s.head) {
		return "its start", nil
	}
	if !isZero(s.tail) {
		return "its end", nil
	}
	block := make([]byte, sampleSize)
	for i := range int64(samples) {
		at := s.size / samples * i &^ (sampleSize - 1)
		if _, err := f.ReadAt(block, at); err != nil {
			return "", err
		}
		if !isZero(block) {
			return fmt.Sprintf("byte %d", at), nil
		}
	}
	return "", nil
}
