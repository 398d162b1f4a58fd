package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrChanged is for a disk that was another one, or began otherwise, when the
// verdict on it was given.
var ErrChanged = errors.New("changed since it was judged")

// identity is which disk a verdict is on. A path alone does not say that: udev may
// give it to another disk, and another program may have written to the same one.
type identity struct {
	path string
	node
	first []byte // how the disk begins; empty if that was not read
}

// node is what stands at a path, and its size in bytes. A block device is known by
// its number, which the kernel may give to another disk later, and by diskseq, which
// it gives only once.
type node struct {
	block      bool
	device     uint64 // the number; of a file, that of its file system
	seqOrInode uint64 // diskseq, 0 before Linux 5.15
	size       int64
}

func nodeOf(f *os.File) (node, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return node{}, fmt.Errorf("measuring %s: %w", f.Name(), err)
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return node{}, fmt.Errorf("looking at %s: %w", f.Name(), err)
	}
	if s.Mode&unix.S_IFMT == unix.S_IFBLK {
		return node{true, s.Rdev, diskSeq(f), size}, nil
	}
	return node{false, s.Dev, s.Ino, size}, nil
}

// open opens the disk again. It fails with ErrChanged if another one stands at its
// path by now, or if it begins otherwise. flags must allow to read.
func (i identity) open(flags int) (*os.File, error) {
	f, err := os.OpenFile(i.path, flags, 0)
	if err != nil {
		return nil, err
	}
	if err := i.check(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (i identity) check(f *os.File) error {
	now, err := nodeOf(f)
	if err != nil {
		return err
	}
	if now != i.node {
		return fmt.Errorf("%s %w: it is another disk, or has another size", i.path, ErrChanged)
	}
	first := make([]byte, len(i.first))
	if _, err := f.ReadAt(first, 0); err != nil {
		return fmt.Errorf("reading %s again: %w", i.path, err)
	}
	if !bytes.Equal(first, i.first) {
		return fmt.Errorf("%s %w: somebody has written to its first sector", i.path, ErrChanged)
	}
	return nil
}

// change has write change the metadata of the disk, if it is still what was judged.
func (i identity) change(flags int, write func(storage) error) error {
	f, err := i.open(os.O_RDWR | flags)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("writing the metadata: %w", err)
	}
	return nil
}
