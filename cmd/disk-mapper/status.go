package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"disk-mapper/disk"
)

const statusUsage = `disk-mapper status says how far the file system of the mapped state disk has grown.

  disk-mapper status [-json]

Exit status: 0 if that can be told, 1 if not (no state disk is mapped), 2 usage.

Flags:
`

// growthStatus is what status prints as JSON.
type growthStatus struct {
	Mapping    string `json:"mapping"`
	State      string `json:"state"` // complete, growing, or waiting for disk-mapper grow
	FileSystem int64  `json:"fileSystemBytes"`
	Final      int64  `json:"finalBytes"`
	Percent    int64  `json:"progressPercent"`
	// Rate and Remaining are there while it grows and they are known.
	Rate      float64 `json:"rateMiBPerSecond,omitempty"`
	Remaining float64 `json:"remainingSeconds,omitempty"`
}

// status returns the exit status.
func status(args []string, stdout, stderr io.Writer) int {
	f := subcommand("status", statusUsage, stderr)
	asJSON := f.Bool("json", false, "print JSON")
	if status, ok := parsed(f, args, 0); !ok {
		return status
	}
	s, err := newGrowthStatus(mappingPath, paceFile)
	if err == nil && *asJSON {
		err = printJSON(stdout, s)
	} else if err == nil {
		err = s.printText(stdout)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "disk-mapper status: %v\n", err)
		return exitFailed
	}
	return 0
}

func newGrowthStatus(mapping, record string) (growthStatus, error) {
	p, err := disk.Growth(mapping)
	if err != nil {
		return growthStatus{}, err
	}
	pace, grows, err := readPace(record)
	s := growthStatus{Mapping: mapping, State: "waiting", FileSystem: p.Done, Final: p.Total, Percent: p.Done * 100 / p.Total}
	switch {
	case p.Done == p.Total:
		s.State = "complete"
	case grows:
		s.State, s.Rate, s.Remaining = "growing", pace.Rate, pace.Remaining.Seconds()
	}
	return s, err
}

func (s growthStatus) printText(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "%s\t%s\n", s.Mapping, s.meaning()) // its errors come with Flush
	_, _ = fmt.Fprintf(table, "file system\t%.1f of %.1f GiB (%d%%)\n", gib(s.FileSystem), gib(s.Final), s.Percent)
	if s.State == "growing" {
		rate, remaining := "not known yet", "not known yet"
		if s.Rate > 0 {
			rate = fmt.Sprintf("%.1f MiB/s", s.Rate)
		}
		if s.Remaining > 0 {
			remaining = (time.Duration(s.Remaining) * time.Second).String()
		}
		_, _ = fmt.Fprintf(table, "rate\t%s\nremaining\t%s\n", rate, remaining)
	}
	return table.Flush()
}

func (s growthStatus) meaning() string {
	switch s.State {
	case "complete":
		return "the file system has its full size"
	case "growing":
		return "the file system grows"
	}
	return "the file system is to grow, and disk-mapper grow does not run"
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }
