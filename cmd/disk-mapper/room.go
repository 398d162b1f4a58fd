package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"disk-mapper/disk"
	"disk-mapper/internal/argument"
	"disk-mapper/internal/printable"

	"go.uber.org/zap"
)

const (
	// roomPoll is how often somebody who waits for room looks for it.
	roomPoll = 500 * time.Millisecond
	// roomInterval is how often that is logged.
	roomInterval = 30 * time.Second
)

// size is a number of bytes on the command line, of which none is an error.
type size int64

var units = map[string]int64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}

func (s *size) String() string { return strconv.FormatInt(int64(*s), 10) }

// Set takes 4G, 4Gi, 4GiB and 4294967296. Units of 1000 are refused: 4GB is meant
// either way.
func (s *size) Set(text string) error {
	if *s != 0 {
		return argument.ErrTwice
	}
	digits := strings.TrimRight(text, "KMGTPiB")
	unit := text[len(digits):]
	for _, ending := range []string{"iB", "i"} {
		if short, ok := strings.CutSuffix(unit, ending); ok && short != "" {
			unit = short
			break
		}
	}
	factor, known := units[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n <= 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%s is no size: want a number of bytes, or of K, M, G, T or P, of 1024, as in 4G", printable.Quote(text))
	}
	*s = size(n * factor)
	return nil
}

// lookAtRoom is how much is free in the state disk's file system, and how far that
// has grown.
func lookAtRoom() (free int64, growth disk.Progress, err error) {
	if growth, err = disk.Growth(mappingPath); err != nil {
		return 0, disk.Progress{}, err
	}
	if err := mountedFrom(stateMount, mappingPath); err != nil {
		return 0, disk.Progress{}, err
	}
	free, err = disk.Free(stateMount)
	return free, growth, err
}

// awaitRoom returns when so much is free, or when more will not come.
func awaitRoom(ctx context.Context, want int64, look func() (int64, disk.Progress, error), notify func(string), log *zap.Logger) error {
	var next time.Time
	for {
		free, growth, err := look()
		if err != nil {
			return err
		}
		fields := []zap.Field{
			zap.Int64("wantedBytes", want), zap.Int64("freeBytes", free), zap.Int64("fileSystemBytes", growth.Done), zap.Int64("finalBytes", growth.Total),
		}
		switch {
		case free >= want:
			log.Info("The state disk has the room that was waited for", fields...)
			return nil
		case growth.Done == growth.Total:
			log.Warn("The state disk has its full size, and less room than was waited for", fields...)
			return nil
		case !time.Now().Before(next):
			next = time.Now().Add(roomInterval)
			log.Info("Waiting for room on the state disk", fields...)
		}
		notify(fmt.Sprintf("Waiting for %.1f GiB of room on the state disk: %.1f are free", gib(want), gib(free)))
		select {
		case <-ctx.Done():
			return fmt.Errorf("%.1f GiB were waited for, %.1f are free: %w", gib(want), gib(free), context.Cause(ctx))
		case <-time.After(roomPoll):
		}
	}
}
