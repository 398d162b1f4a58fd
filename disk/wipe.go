package disk

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// How zeros are written: so many blocks of up to this size at a time. Measured
// (make bench): one writer has half the speed, blocks of 1 MiB lose a tenth, of
// 64 KiB a quarter. BLKZEROOUT is as fast as one writer, however many there are,
// because the kernel runs one at a time.
const (
	wipeBlock   = 4 << 20
	wipeWriters = 4
)

// Progress is how far a wipe or a growth has come, in bytes.
type Progress struct{ Done, Total int64 }

// span is a part of a device, in bytes.
type span struct{ from, to int64 }

func (s span) size() int64 { return s.to - s.from }

// zeroer writes zeros to a device.
type zeroer interface {
	// wipe returns when zeros are written to all of s. wrote is called after each
	// block, with its size and by one goroutine at a time.
	wipe(ctx context.Context, s span, wrote func(n int64)) error
	// sync makes safe what was wiped.
	sync() error
}

// wiper writes zeros to a mapped device, past the page cache, so that every
// sector that it has written has its integrity tag.
type wiper struct {
	device *os.File
	size   int64
	zeros  []byte
}

func openWiper(path string) (*wiper, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("measuring %s: %w", path, err)
	}
	// Memory from the kernel is aligned as direct I/O needs it.
	zeros, err := unix.Mmap(-1, 0, wipeBlock, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &wiper{f, size, zeros}, nil
}

func (w *wiper) Close() error {
	_ = unix.Munmap(w.zeros)
	return w.device.Close()
}

func (w *wiper) wipe(ctx context.Context, s span, wrote func(n int64)) error {
	group, ctx := errgroup.WithContext(ctx)
	each := min(wipeBlock, (s.size()/wipeWriters/sectorSize+1)*sectorSize)
	var next atomic.Int64
	var turn sync.Mutex
	next.Store(s.from)
	for range wipeWriters {
		group.Go(func() error {
			for {
				to := next.Add(each)
				block := span{to - each, min(to, s.to)}
				if block.from >= s.to {
					return nil
				}
				if err := w.write(ctx, block); err != nil {
					return err
				}
				turn.Lock()
				wrote(block.size())
				turn.Unlock()
			}
		})
	}
	return group.Wait()
}

func (w *wiper) sync() error { return w.device.Sync() }

func (w *wiper) write(ctx context.Context, block span) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := w.device.WriteAt(w.zeros[:block.size()], block.from); err != nil {
		return fmt.Errorf("wiping at byte %d: %w", block.from, err)
	}
	return nil
}

// readable reports whether all of a part of a mapped device can be read from the
// disk, so that each of its sectors has a tag.
func readable(mapping string, s span) bool {
	if s.size() <= 0 {
		return true
	}
	f, err := os.OpenFile(mapping, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	block, err := unix.Mmap(-1, 0, int(s.size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Munmap(block) }()
	_, err = f.ReadAt(block, s.from)
	return err == nil
}
