package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"disk-mapper/disk"
	"disk-mapper/internal/argument"

	"golang.org/x/sys/unix"
)

const wipeUsage = `disk-mapper wipe makes a disk new again: zeros from its first byte to its last.

  disk-mapper wipe [-yes-wipe DEVICE] DEVICE

It says what is on the disk, or what of it cannot be read, asks for the name of the device once more,
and refuses a disk that is mounted, mapped or held otherwise. Nothing brings back what was there.
Afterwards the disk is blank, as inspect would say, which the next boot of a node formats. If it is
interrupted, start it again. Where the disk takes no zeros it ends, and says how far it came.

Exit status: 0 the disk is blank, 1 it is not, 2 usage, or the name was not given again.

Flags:
`

// wipe asks on stdout and is answered on stdin.
func wipe(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f := subcommand("wipe", wipeUsage, stderr)
	var yes string
	f.Var(argument.NewWord(&yes, ""), "yes-wipe", "the name of the device once more, instead of asking for it")
	if status, ok := parsed(f, args, 1); !ok {
		return status
	}
	path := f.Arg(0)
	fail := func(status int, err error) int {
		_, _ = fmt.Fprintf(stderr, "disk-mapper wipe: %v\n", err)
		return status
	}
	report, err := disk.Inspect(ctx, path)
	if _, unread := errors.AsType[*disk.ReadError](err); err != nil && !unread {
		return fail(exitFailed, err)
	}
	_, _ = io.WriteString(stdout, summary(path, report, err))
	if yes == "" {
		yes = ask(ctx, path, stdin, stdout)
	}
	if yes != path {
		return fail(exitUsage, fmt.Errorf("nothing was written: the name %q is not that of the device, %q", yes, path))
	}
	if err := report.Clear(ctx, printProgress(stdout)); err != nil {
		return fail(exitFailed, whyRefused(err))
	}
	_, _ = fmt.Fprintf(stdout, "%s: blank\n", path)
	return 0
}

// summary is what an operator has to know before anything is destroyed. unread is why
// there is no verdict.
func summary(path string, report disk.Report, unread error) string {
	if unread != nil {
		return fmt.Sprintf("%s: not known\nA part of the disk cannot be read, so that nothing says what is on it: %v.\n", path, unread)
	}
	v, _ := newVerdict(path, report) // blank too: not all of it was looked at
	text := fmt.Sprintf("%s: %s\n%s\n", v.Device, v.Verdict, v.Meaning)
	if v.Refusal != nil {
		text += fmt.Sprintf("%s: found %s\n", v.Refusal.Field, v.Refusal.Found)
	}
	if v.UUID != "" {
		text += fmt.Sprintf("uuid %s, %s\n", v.UUID, v.Origin)
	}
	return text
}

// ask returns what is answered; nothing if there is no answer.
func ask(ctx context.Context, path string, stdin io.Reader, stdout io.Writer) string {
	_, _ = fmt.Fprintf(stdout, "All of %s will be lost. Type its name again to wipe it: ", path)
	answer := make(chan string, 1)
	go func() { // a terminal cannot be interrupted, only abandoned
		line, _ := bufio.NewReader(stdin).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return ""
	case line := <-answer:
		return line
	}
}

// printProgress prints a line in ten seconds, and the last.
func printProgress(out io.Writer) func(disk.Progress) {
	next := time.Now()
	return func(p disk.Progress) {
		if now := time.Now(); now.After(next) || p.Done == p.Total {
			next = now.Add(10 * time.Second)
			_, _ = fmt.Fprintf(out, "%d of %d MiB\n", p.Done>>20, p.Total>>20)
		}
	}
}

func whyRefused(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("nothing was written: the disk is mounted, mapped or held otherwise: %w", err)
	case errors.Is(err, disk.ErrChanged):
		return fmt.Errorf("nothing was written: %w", err)
	}
	return err
}
