package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// clearStep is how much is cleared between two looks at the context.
const clearStep = 64 << 20

// Clear makes the disk that was reported new again: zeros from its first byte to
// its last, and then Blank by the verdict. Before anything is written, it fails with
// unix.EBUSY if the disk or a part of it is mounted, mapped or held otherwise, and
// with ErrChanged if it is not the disk, or does not begin as it did, when the report
// was made. It is the caller's part to know that nobody needs what is there. progress
// counts bytes. If the disk does not take zeros somewhere, the error names the byte,
// and all before it is zeros.
func (r Report) Clear(ctx context.Context, progress func(Progress)) error {
	path := r.judged.path
	f, err := r.judged.open(os.O_RDWR | unix.O_EXCL) // exclusive, as mounts and mappings open a disk
	if err != nil {
		return err
	}
	err = clearAll(ctx, r.judged.size, zeroable{f}, progress)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("clearing %s: %w", path, err)
	}
	d, err := Open(ctx, path)
	why, refused := errors.AsType[*Refusal](err)
	switch {
	case refused: // its advice is for a disk that was left alone
		return fmt.Errorf("zeros were written to all of %s, and it is not blank: %s: found %s, want %s", path, why.Field, why.Found, why.Want)
	case err != nil:
		return fmt.Errorf("zeros were written to all of %s, and then: %w", path, err)
	case d.state != Blank:
		return fmt.Errorf("clearing %s: it is %v afterwards: its storage does not keep zeros", path, d.state)
	}
	return nil
}

// clearable is a disk, or a part of one, that can be made zeros.
type clearable interface {
	zero(s span) error
	Sync() error
}

func clearAll(ctx context.Context, size int64, disk clearable, progress func(Progress)) error {
	for at := int64(0); at < size; at += clearStep {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		step := span{at, min(at+clearStep, size)}
		if at, err := zeroAll(disk, step); err != nil {
			return fmt.Errorf("at byte %d of %d, before which all is zeros: %w", at, size, err)
		}
		progress(Progress{step.to, size})
	}
	return disk.Sync()
}

// zeroAll asks for the same again in halves where it fails, and returns the first byte
// of the 4 KiB that the disk does not take.
func zeroAll(disk clearable, s span) (int64, error) {
	err := disk.zero(s)
	if err == nil || s.size() <= sectorSize {
		return s.from, err
	}
	middle := s.from + max(sectorSize, s.size()/2&^(sectorSize-1))
	if at, err := zeroAll(disk, span{s.from, middle}); err != nil {
		return at, err
	}
	return zeroAll(disk, span{middle, s.to})
}

// zeroable is an open disk, or file.
type zeroable struct{ *os.File }

// zero asks the kernel for zeros, which has the disk make them if it can, and
// writes them otherwise. A discard alone promises nothing about what is read then.
func (f zeroable) zero(s span) error {
	switch err := makeZeros(f.File, s); {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return writeZeros(f, s)
	default:
		return err
	}
}

func writeZeros(w io.WriterAt, s span) error {
	zeros := make([]byte, 1<<20)
	for at := s.from; at < s.to; at += int64(len(zeros)) {
		if _, err := w.WriteAt(zeros[:min(int64(len(zeros)), s.to-at)], at); err != nil {
			return err
		}
	}
	return nil
}
