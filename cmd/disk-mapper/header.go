package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"disk-mapper/disk"
	"disk-mapper/internal/argument"
	"disk-mapper/internal/keys"
)

const headerUsage = `disk-mapper header keeps the header of a state disk that has joined a cluster, and puts it back.

  disk-mapper header backup DISK FILE     write it to a new file; the disk may be in use
  disk-mapper header check [-master-secret FILE] FILE [DISK]
                                          say whether the file is whole, whether the master secret
                                          opens it, and whether DISK still has this header
  disk-mapper header restore [flags] FILE DISK
                                          write it back; nobody may use the disk. FILE may also be of
                                          cryptsetup luksHeaderBackup, if the disk's dm-integrity
                                          superblock, at 16 MiB, is intact

The file holds the first 16 MiB of the disk, dm-integrity's superblock behind them, and whose they are.
cryptsetup luksHeaderRestore takes it too. It holds no key, but with it an old key of the disk opens the
disk again: keep it as the disk itself, and not on the disk.

Restore refuses the backup of another disk, a header that is older than the one there, and a disk that
has somebody else's data at its start. Where nothing is left at the start, nothing says whose disk it is:
restore says so, and a backup that turns out to be the wrong one can be replaced. If it is interrupted,
the disk is refused until it is done again.

Exit status: 0 done, 1 not done, and why, 2 usage.

Flags:
`

// headerCommand returns the exit status.
func headerCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := subcommand("header", headerUsage, stderr)
	if len(args) == 0 {
		f.Usage()
		return exitUsage
	}
	h := headerJob{flags: f, stdout: stdout}
	f.Var(argument.NewWord(&h.masterSecret, ""), "master-secret", "for check: file with the master secret of the cluster")
	f.BoolVar(&h.over.NewerHeader, "replace-newer-header", false, "for restore: an older header over a newer one; the keys of the newer one are lost")
	f.BoolVar(&h.over.ForeignData, "replace-foreign-data", false, "for restore: over a file system, a partition table, or the mark of a format that has begun")
	f.BoolVar(&h.over.OtherDisk, "replace-header-of-another-disk", false, "for restore: over the header of another disk, which was put on this one by mistake")
	job, operands := h.job(args[0])
	if job == nil {
		_ = f.Parse(args) // prints help, or what is wrong
		return helpStatus(args[0], f)
	}
	if err := f.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage
	}
	if f.NArg() < operands[0] || f.NArg() > operands[1] {
		f.Usage()
		return exitUsage
	}
	if err := job(ctx); err != nil {
		_, _ = fmt.Fprintf(stderr, "disk-mapper header %s: %v\n", args[0], err)
		return exitFailed
	}
	return 0
}

func helpStatus(first string, f *flag.FlagSet) int {
	switch first {
	case "-h", "-help", "--help":
		return 0
	}
	f.Usage()
	return exitUsage
}

// headerJob is one call of disk-mapper header.
type headerJob struct {
	flags        *flag.FlagSet
	masterSecret string
	over         disk.Over
	stdout       io.Writer
}

// job is what name stands for, with the least and the most operands; nil if nothing.
func (h *headerJob) job(name string) (func(context.Context) error, [2]int) {
	switch name {
	case "backup":
		return h.backup, [2]int{2, 2}
	case "check":
		return h.check, [2]int{1, 2}
	case "restore":
		return h.restore, [2]int{2, 2}
	}
	return nil, [2]int{}
}

func (h *headerJob) backup(ctx context.Context) error {
	b, err := disk.ReadHeader(ctx, h.flags.Arg(0))
	if err != nil {
		return err
	}
	if err := b.WriteNew(h.flags.Arg(1)); err != nil {
		return err
	}
	again, err := disk.ReadBackup(ctx, h.flags.Arg(1))
	if err != nil {
		return err
	}
	h.say("%s: header of disk %s, seqid %d", h.flags.Arg(1), again.ID(), again.SeqID())
	h.sayIfLost(again)
	return nil
}

func (h *headerJob) check(ctx context.Context) error {
	b, err := disk.ReadBackup(ctx, h.flags.Arg(0))
	if err != nil {
		return err
	}
	h.say("%s: %s", h.flags.Arg(0), describeBackup(b))
	h.sayIfLost(b)
	if h.masterSecret != "" {
		if err := opensWith(b.Device, h.masterSecret); err != nil {
			return err
		}
		h.say("the master secret opens it")
	}
	if h.flags.NArg() == 1 {
		return nil
	}
	if err := b.Current(ctx, h.flags.Arg(1)); err != nil {
		return err
	}
	h.say("%s has this header", h.flags.Arg(1))
	return nil
}

func (h *headerJob) restore(ctx context.Context) error {
	b, err := disk.ReadBackup(ctx, h.flags.Arg(0))
	if err != nil {
		return err
	}
	done, err := b.Restore(ctx, h.flags.Arg(1), h.over)
	switch {
	case errors.Is(err, disk.ErrNewerHeader):
		return fmt.Errorf("%w; -replace-newer-header does it all the same", err)
	case errors.Is(err, disk.ErrOtherDisk):
		return fmt.Errorf("%w; if that header was put on this disk by mistake, -replace-header-of-another-disk writes the right one over it", err)
	case errors.Is(err, disk.ErrForeignData):
		return fmt.Errorf("%w; -replace-foreign-data does it all the same, if this is the right disk", err)
	case err != nil:
		return err
	}
	h.say("%s: has the header of disk %s again", h.flags.Arg(1), b.ID())
	if done.Unidentified {
		h.say("Nothing on the disk said whose header it had: if the node does not come up, although its key is right, this is the backup of another disk. " +
			"Then restore the right one with -replace-header-of-another-disk")
	}
	if done.EmptyJournal {
		h.say("dm-integrity's journal was damaged and is empty now: what was written last may be lost. " +
			"The file system is checked by the node when it is mounted; watch for errors, or run e2fsck on the unlocked disk")
	}
	return nil
}

func (h *headerJob) sayIfLost(b *disk.Backup) {
	if b.KeyslotLost() {
		h.say("The keyslot in it is nothing but zeros: it was lost before, and no key opens a disk with this header")
	}
}

func (h *headerJob) say(format string, values ...any) {
	_, _ = fmt.Fprintf(h.stdout, format+"\n", values...)
}

func describeBackup(b *disk.Backup) string {
	if !b.Complete {
		return fmt.Sprintf("header of disk %s, seqid %d, kept by cryptsetup luksHeaderBackup, without dm-integrity's superblock", b.ID(), b.SeqID())
	}
	return fmt.Sprintf("header of disk %s of %d bytes, seqid %d, complete", b.ID(), b.Size, b.SeqID())
}

// opensWith fails unless the master secret in the file opens the disk.
func opensWith(d *disk.Device, path string) error {
	master, err := keys.ReadMasterSecret(path)
	if err != nil {
		return err
	}
	defer master.Wipe()
	if err := d.Opens(master); err != nil {
		return fmt.Errorf("the master secret in %s does not open disk %s: %w", path, d.ID(), err)
	}
	return nil
}
