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

// Free is how many bytes can be written to the file system that is mounted at dir,
// in files of 16 KiB or more.
func Free(dir string) (int64, error) {
	r, err := roomOf(dir)
	return r.free, err
}

// ErrInterrupted is why Grow ends when its context does, and nothing has failed.
var ErrInterrupted = errors.New("growing was interrupted")

// Grow wipes a mapped disk behind its file system, which is mounted at dir, and
// grows the file system step by step, until it fills the disk. The file system's
// size is the record of what is done: after a power cut Grow goes on from there.
// It yields to others who use the device, as far as they leave it time to stay
// ahead of them. When ctx ends, what has been wiped is grown over first, and the
// error is ErrInterrupted unless that fails. The end of the disk is wiped first if it
// cannot be read, also on a disk that is complete.
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
	if err != nil {
		return err
	}
	endIsThere := readable(mapping, l.end(size))
	if endIsThere && l.complete(size) {
		return nil
	}
	w, err := openWiper(mapping)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("this kernel forbids to write to a mounted device (bdev_allow_write_mounted): %w", err)
	}
	if err != nil {
		return err
	}
	defer w.Close()
	others, err := newForeground(w.device, dir)
	if err != nil {
		return err
	}
	g := grower{zeroer: w, layout: l, mapping: mapping, others: others, resize: func(size int64) error { return resize(mapping, dir, size) }}
	if !endIsThere {
		if _, err := g.wipeBehind(ctx, size, l.end(size)); err != nil {
			return err
		}
	}
	return g.run(ctx, size, progress)
}

type grower struct {
	zeroer
	layout
	mapping string
	others  *foreground
	resize  func(size int64) error
}

func (g grower) run(ctx context.Context, size int64, progress func(Progress)) error {
	for !g.complete(size) {
		progress(Progress{size, g.final()})
		var err error
		if size, err = g.step(ctx, size); err != nil {
			return err
		}
	}
	progress(Progress{size, size})
	return g.sync()
}

// step returns the size that the file system then has.
func (g grower) step(ctx context.Context, size int64) (int64, error) {
	room, err := g.others.room()
	if err != nil {
		return size, err
	}
	next := g.next(size, room.free)
	g.others.begin(room.free, next-size)
	reached, err := g.wipeBehind(ctx, size, span{size, next})
	if err != nil { // some of the step may be done
		next = reached / worthGrowing * worthGrowing
	}
	if next <= size {
		return size, err
	}
	if failed := g.growOver(size, next); failed != nil {
		if errors.Is(err, ErrInterrupted) { // which does not explain it
			err = nil
		}
		return size, errors.Join(err, failed)
	}
	return next, err
}

// growOver grows the file system over what is wiped.
func (g grower) growOver(size, next int64) error {
	if err := g.sync(); err != nil {
		return fmt.Errorf("waiting until the wipe is safe: %w", err)
	}
	if err := g.resize(next); err != nil {
		return err
	}
	return g.others.grew(size, next)
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
			return at, fmt.Errorf("%w: %w", ErrInterrupted, context.Cause(ctx))
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
		if err := g.others.yield(ctx, stride.size(), time.Since(began), s.to-at); err != nil {
			return at, err
		}
	}
	return s.to, nil
}
