package main

import (
	"context"
	"errors"
	"io"
	"time"

	"disk-mapper/disk"
	"disk-mapper/internal/argument"
	"disk-mapper/internal/logging"
	"disk-mapper/setup"

	"go.uber.org/zap"
)

const growUsage = `disk-mapper grow wipes the rest of a new state disk behind its file system, which is mounted
at /run/state, and grows the file system over it, step by step, until it fills the disk. It
yields to others who use the disk. On a disk that is complete it ends at once.

With -until it grows nothing: it waits until so much is free in the file system, while the
disk-mapper grow of the unit grows it, or until it has its full size, when more will not come.

  disk-mapper grow [-v N]
  disk-mapper grow -until SIZE [-v N]

Exit status: 0 complete, or ended by SIGTERM: the next start goes on; 1 failed, 2 usage.
With -until: 0 there is that room, or full size; 1 failed or ended before, 2 usage.

Flags:
`

// growInterval is how often a growth is logged; the status tells more often.
const growInterval = 30 * time.Second

// grow runs in the booted system until the file system fills the state disk. To be
// ended before that is no failure: the next start goes on.
func grow(ctx context.Context, args []string, notify func(string), stderr io.Writer) int {
	f := subcommand("grow", growUsage, stderr)
	var verbosity int
	f.Var(argument.NewNumber(&verbosity), "v", "log level: -1 also shows debug lines, 1 only warnings, 2 only errors")
	var until size
	f.Var(&until, "until", "wait for this much room, as 512M, 4G or 1T (of 1024), and grow nothing")
	if status, ok := parsed(f, args, 0); !ok {
		return status
	}
	log := logging.New(stderr, verbosity).Named("grow")
	defer func() { _ = log.Sync() }() // the console cannot be synced
	if until > 0 {
		if err := awaitRoom(ctx, int64(until), lookAtRoom, notify, log); err != nil {
			log.Error("Failed to wait for room on the state disk", zap.Error(err))
			return exitFailed
		}
		return 0
	}
	if err := growDisk(ctx, notify, log); err != nil {
		log.Error("Failed to grow the state disk", zap.Error(err))
		return exitFailed
	}
	return 0
}

func growDisk(ctx context.Context, notify func(string), log *zap.Logger) error {
	begin, err := disk.Growth(mappingPath)
	if err != nil {
		return err
	}
	if err := mountedFrom(stateMount, mappingPath); err != nil {
		return err
	}
	record, err := startPaceRecord(paceFile)
	if err != nil {
		return err
	}
	defer record.end()
	g := growth{begin: begin, start: time.Now(), notify: notify, record: record, log: log}
	return g.ended(disk.Grow(ctx, mappingPath, stateMount, g.report))
}

// ended says how a growth ended, and returns why it failed. It goes by the error: a
// disk can fail when somebody ends the growth.
func (g *growth) ended(err error) error {
	switch {
	case err == nil && g.begin.Done == g.begin.Total:
		g.log.Debug("The state disk has its full size")
	case err == nil:
		g.log.Info("Grew the state disk to its full size", zap.Duration("duration", time.Since(g.start)))
	case errors.Is(err, disk.ErrInterrupted):
		g.log.Info("Growing the state disk was interrupted, the next start goes on", g.pace.Fields()...)
	default:
		return err
	}
	return nil
}

// sayRest leaves a word for whoever finds a node with a small file system. That it
// cannot be told is no reason to fail a boot.
func sayRest(mapping string, log *zap.Logger) {
	if p, err := disk.Growth(mapping); err == nil && p.Done < p.Total {
		log.Info("The file system is smaller than the state disk, the rest is left to disk-mapper grow",
			zap.Int64("fileSystemBytes", p.Done), zap.Int64("finalBytes", p.Total))
	}
}

// growth tells everybody how far it is.
type growth struct {
	begin  disk.Progress
	start  time.Time
	notify func(string)
	record *paceRecord
	log    *zap.Logger

	pace setup.Pace
	next time.Time // for the log
}

func (g *growth) report(p disk.Progress) {
	now := time.Now()
	g.pace = setup.NewPace(g.begin.Done, p.Done, p.Total, now.Sub(g.start))
	g.notify("Growing the state disk: " + g.pace.String())
	if err := g.record.write(g.pace); err != nil {
		g.log.Warn("Failed to leave the progress for disk-mapper status", zap.Error(err))
	}
	if now.Before(g.next) {
		return
	}
	g.next = now.Add(growInterval)
	g.log.Info("Growing the state disk", append(g.pace.Fields(), zap.Int64("fileSystemBytes", p.Done), zap.Int64("finalBytes", p.Total))...)
}
