package disk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Growth is how far the file system of a mapped disk has come, in bytes: Done is
// its size, Total what that will be. Both are equal when nothing is left to do.
func Growth(mapping string) (Progress, error) {
	l, size, err := measure(mapping)
	if err != nil {
		return Progress{}, fmt.Errorf("measuring the growth of %s: %w", mapping, err)
	}
	if l.complete(size) {
		return Progress{size, size}, nil
	}
	return Progress{size, l.final()}, nil
}

// Grow wipes a mapped disk behind its file system, which is mounted at dir, and
// grows the file system step by step, until it fills the disk. The file system's
// size is the record of what is done: after a power cut Grow goes on from there.
// It yields to others who use the device, unless the file system is nearly full.
// When ctx ends, what has been wiped is grown over first.
//
// Nobody else may grow the file system meanwhile: what Grow is about to wipe
// would be in use. It looks at the size before each block.
func Grow(ctx context.Context, mapping, dir string, progress func(Progress)) error {
	if err := grow(ctx, mapping, dir, progress); err != nil {
		return fmt.Errorf("growing the file system of %s: %w", mapping, err)
	}
	return nil
}

func grow(ctx context.Context, mapping, dir string, progress func(Progress)) error {
	l, size, err := measure(mapping)
	if err != nil || l.complete(size) {
		return err
	}
	w, err := openWiper(mapping)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("this kernel forbids to write to a mounted device (bdev_allow_write_mounted): %w", err)
	}
	if err != nil {
		return err
	}
	defer w.Close()
	others, err := newForeground(w.device, dir, l.final())
	if err != nil {
		return err
	}
	g := grower{wiper: w, layout: l, mapping: mapping, dir: dir, others: others}
	if _, err := g.wipeBehind(ctx, size, l.end(size)); err != nil { // of a disk that was enlarged
		return err
	}
	for !l.complete(size) {
		progress(Progress{size, l.final()})
		if size, err = g.step(ctx, size); err != nil {
			return err
		}
	}
	progress(Progress{size, size})
	return nil
}

type grower struct {
	*wiper
	layout
	mapping, dir string
	others       *foreground
}

// step returns the size that the file system then has.
func (g grower) step(ctx context.Context, size int64) (int64, error) {
	next := g.next(size)
	reached, err := g.wipeBehind(ctx, size, span{size, next})
	if err != nil { // some of the step may be done
		next = reached / worthGrowing * worthGrowing
	}
	if next <= size {
		return size, err
	}
	if failed := g.device.Sync(); failed != nil {
		return size, errors.Join(err, failed)
	}
	if failed := resize(g.dir, next); failed != nil {
		return size, errors.Join(err, failed)
	}
	return next, errors.Join(err, g.others.forget())
}

// stillOf fails unless the file system has this size.
func (g grower) stillOf(size int64) error {
	_, now, err := measure(g.mapping)
	if err == nil && now != size {
		err = fmt.Errorf("somebody else changed the size of the file system, from %d to %d bytes", size, now)
	}
	return err
}

// wipeBehind wipes a part of the device that is behind a file system of this size,
// and returns up to where it came.
func (g grower) wipeBehind(ctx context.Context, fileSystem int64, s span) (int64, error) {
	for at := s.from; at < s.to; {
		if ctx.Err() != nil {
			return at, context.Cause(ctx)
		}
		if err := g.stillOf(fileSystem); err != nil {
			return fileSystem, err
		}
		stride := span{at, min(at+g.others.stride(), s.to)}
		began := time.Now()
		if err := g.wipe(context.WithoutCancel(ctx), stride, func(int64) {}); err != nil {
			return at, err
		}
		at = stride.to
		if err := g.others.yield(ctx, stride.size(), time.Since(began)); err != nil {
			return at, err
		}
	}
	return s.to, nil
}
