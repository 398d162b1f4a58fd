// Package kernelline reads the options of this project on the kernel command
// line: the words whose name begins with "constel.".
//
// Trust boundary: the line is measured, so it is what the owner of the node meant,
// and a host that changes it is found out. What it says makes a node stricter; so no
// word may get lost. Whatever looks like an option and is none is an error. Words of
// a list add up; two values for an option that has one are an error.
//
// Names and quotes are read as the kernel reads its own parameters: "_" is "-" in a
// name, and a value with a space stands in double quotes. "--" has no meaning here:
// what follows it goes to init, but is measured as well, and counts.
//
// What the values mean is not known here.
package kernelline

import (
	"fmt"
	"slices"
	"strings"

	"disk-mapper/internal/printable"
)

// Names of the options.
const (
	Platform      = "constel.csp"
	Variant       = "constel.attestation-variant"
	Compat        = "constel.compat"
	StateDisk     = "constel.state-disk"
	AuthorizedKey = "constel.recovery-authorized-key"
	JoinEndpoints = "constel.join-endpoints"
	ClusterID     = "constel.cluster-id"
)

// kind is how often an option may be there, and with what.
type kind int

const (
	single  kind = iota // one value
	list                // values with commas, or several words
	foreign             // of other programs in images of v2.x; with or without a value
)

var known = map[string]kind{
	Platform: single, Variant: single, Compat: single, ClusterID: single,
	StateDisk: list, AuthorizedKey: list, JoinEndpoints: list,
	"constel.debug": foreign, "constel.console": foreign,
}

// maxLine is how many bytes the kernel keeps of a line, on x86 and arm64
// (COMMAND_LINE_SIZE, less the NUL). The rest is cut off without a word.
const maxLine = 2047

// Line is what a kernel command line says. The zero value says nothing.
type Line struct{ values map[string][]string }

// Value is that of an option that has one, or empty.
func (l Line) Value(name string) string {
	if values := l.values[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// List is all values of an option that can have several, in their order.
func (l Line) List(name string) []string { return slices.Clone(l.values[name]) }

// Parse reads the line, as in /proc/cmdline. The error names the word that cannot be
// read, and what was probably meant.
func Parse(line string) (Line, error) {
	line = strings.TrimSuffix(line, "\n")
	if len(line) == maxLine {
		return Line{}, fmt.Errorf("the kernel command line has %d bytes, the most that the kernel keeps: its end may be cut off; shorten it", len(line))
	}
	words, err := split(line)
	if err != nil {
		return Line{}, err
	}
	l := Line{map[string][]string{}}
	ours := false
	for _, w := range words {
		if ours && strings.HasPrefix(w.name, ",") {
			return Line{}, fmt.Errorf("%s on the kernel command line stands after a space: want the list without spaces", printable.Quote(w.text()))
		}
		if ours, err = w.isOption(); err == nil && ours {
			err = l.add(w)
		}
		if err != nil {
			return Line{}, err
		}
	}
	return l, nil
}

// add takes an option that is known.
func (l Line) add(w word) error {
	name := canonical(w.name)
	kind := known[name]
	if kind == foreign {
		return nil
	}
	if w.value == "" {
		return fmt.Errorf("%s on the kernel command line has no value: want %s=VALUE, or no such word", printable.Text(w.text()), name)
	}
	if kind == single {
		if old := l.Value(name); old != "" && old != w.value {
			return fmt.Errorf("two values on the kernel command line: %s=%s and %s=%s, want one", name, printable.Text(old), name, printable.Text(w.value))
		}
		l.values[name] = []string{w.value}
		return nil
	}
	for value := range strings.SplitSeq(w.value, ",") {
		if value == "" {
			return fmt.Errorf("%s on the kernel command line has an empty value between its commas", printable.Text(w.text()))
		}
		l.values[name] = append(l.values[name], value)
	}
	return nil
}
