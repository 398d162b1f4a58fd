package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"disk-mapper/disk"
	"disk-mapper/internal/argument"
	"disk-mapper/internal/printable"
)

// Exit statuses of inspect. A disk that cannot be read is exitFailed, as for the
// daemon.
const (
	exitJoined   = 0
	exitFailed   = 1
	exitUsage    = 2
	exitPrepared = 3
	exitBlank    = 4
	exitRefused  = 5
	exitBackup   = 6
	exitNoKey    = 7 // the master secret does not open it
)

const inspectUsage = `disk-mapper inspect prints the verdict on a disk, field by field, and what it means.

  disk-mapper inspect [-json] [-master-secret FILE] DEVICE|FILE

It reads, and never writes. FILE is a copy of the whole disk, or of its start if it has the
same size (truncate -s), or a header backup of disk-mapper or cryptsetup. No privileges are needed
beyond reading. With -master-secret it is proven, in memory, whether this secret opens the disk or
the backup.

Exit status: 0 joined, 3 prepared, 4 blank, 5 refused, 6 a header backup; 7 the master secret does not
open it; 1 unreadable, 2 usage.

Flags:
`

// verdict is what inspect prints as JSON.
type verdict struct {
	Device    string         `json:"device"`
	AllowList int            `json:"allowList"` // version
	Verdict   string         `json:"verdict"`   // joined, prepared, blank or refused
	Meaning   string         `json:"meaning"`   // in a sentence
	Origin    string         `json:"origin,omitempty"`
	UUID      string         `json:"uuid,omitempty"`
	Refusal   *disk.Refusal  `json:"refusal,omitempty"`
	Findings  []disk.Finding `json:"findings"`
	// MasterSecret says whether it opens the disk, if that was asked for.
	MasterSecret string `json:"masterSecret,omitempty"`
}

// inspect returns the exit status that goes with the state of the disk.
func inspect(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := subcommand("inspect", inspectUsage, stderr)
	asJSON := f.Bool("json", false, "print JSON")
	var masterSecret string
	f.Var(argument.NewWord(&masterSecret, ""), "master-secret", "file with the master secret of a cluster, to try it")
	if status, ok := parsed(f, args, 1); !ok {
		return status
	}
	backup, report, err := look(ctx, f.Arg(0))
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "disk-mapper inspect: no verdict, and the daemon would not touch the disk: %v\n", err)
		return exitFailed
	}
	v, status := verdictOn(f.Arg(0), backup, report)
	if masterSecret != "" {
		if v, status, err = v.tried(masterSecret, report, backup, status); err != nil {
			_, _ = fmt.Fprintf(stderr, "disk-mapper inspect: %v\n", err)
			return exitFailed
		}
	}
	print := v.printText
	if *asJSON {
		print = func(out io.Writer) error { return printJSON(out, v) }
	}
	if err := print(stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "disk-mapper inspect: %v\n", err)
		return exitFailed
	}
	return status
}

func newVerdict(path string, r disk.Report) (verdict, int) {
	v := verdict{Device: path, AllowList: disk.AllowListVersion, Verdict: "refused", Refusal: r.Refusal, Findings: r.Findings}
	if r.Refusal != nil {
		v.Meaning = "The daemon does not touch this disk. It is " + r.Refusal.Meaning.String() + ": " + r.Refusal.Meaning.Advice() + "."
		if r.Refusal.Unrecognised() {
			v.Meaning += " With constel.state-disk=format-nonzero the daemon formats it, unless libblkid recognises what is on it."
		}
		return v, exitRefused
	}
	v.Verdict, v.Origin, v.UUID = r.Device.State().String(), r.Device.Origin(), r.Device.ID().String()
	switch r.Device.State() {
	case disk.Joined:
		v.Meaning = "The disk is that of a node which has joined a cluster. The daemon waits for its key and never formats it."
		return v, exitJoined
	case disk.Prepared:
		v.Meaning = "The disk was formatted, or was about to be, and has not joined a cluster. The daemon formats it."
		return v, exitPrepared
	case disk.Blank:
		v.Meaning = "The disk is zeros wherever it was looked at: it is new. The daemon formats it."
		return v, exitBlank
	}
	return v, exitFailed
}

func (v verdict) printText(out io.Writer) error {
	_, err := fmt.Fprintf(out, "%s: %s\n%s\n", printable.Text(v.Device), v.Verdict, v.Meaning)
	if v.Refusal != nil {
		_, err = fmt.Fprintf(out, "\n%s\n  found  %s\n  want   %s\n", v.Refusal.Field, v.Refusal.Found, v.Refusal.Want)
	}
	if v.UUID != "" {
		_, err = fmt.Fprintf(out, "\nuuid    %s\norigin  %s\n", v.UUID, v.Origin)
	}
	if v.MasterSecret != "" {
		_, err = fmt.Fprintf(out, "master secret  %s\n", v.MasterSecret)
	}
	if len(v.Findings) == 0 {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "\n\tfield (allow-list %d)\tfound\twant\n", v.AllowList) // its errors come with Flush
	for _, f := range v.Findings {
		mark := "ok"
		if !f.OK {
			mark = "BAD"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", mark, f.Field, f.Found, f.Want)
	}
	return errors.Join(err, table.Flush())
}
