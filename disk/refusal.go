package disk

import (
	"errors"
	"fmt"
	"strings"

	"disk-mapper/internal/exactjson"
	"disk-mapper/internal/printable"
)

// Meaning is what a refused field means for the operator of the node.
type Meaning int

const (
	// Foreign is somebody else's data, or an encrypted disk of another kind.
	Foreign Meaning = iota + 1
	// Unsupported is a format that this release is too old or too new for.
	Unsupported
	// Damaged is metadata that is incomplete or does not fit its checksum.
	Damaged
	// Tampered is well-formed metadata that no release of a cluster writes.
	Tampered
)

// String returns a lower-case word.
func (m Meaning) String() string {
	switch m {
	case Foreign:
		return "foreign"
	case Unsupported:
		return "unsupported"
	case Damaged:
		return "damaged"
	case Tampered:
		return "tampered"
	}
	return "unknown"
}

// MarshalText returns the word of String.
func (m Meaning) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Advice says in a sentence what to do about it.
func (m Meaning) Advice() string {
	switch m {
	case Foreign:
		return "this is not the state disk of a node: attach the right disk, or make this one new with disk-mapper wipe if nobody needs what is on it"
	case Unsupported:
		return "this release does not know the format: use the release that made the disk"
	case Damaged:
		return "a part of the metadata is lost: keep the disk, and put the header back from a backup (disk-mapper header restore), or restore the node from another one"
	case Tampered:
		return "no release of a cluster writes this: keep the disk for examination, and restore the node from another one"
	}
	return ""
}

// Refusal says why a disk is neither Blank, Prepared nor Joined.
type Refusal struct {
	Field   string  `json:"field"` // where on the disk
	Found   string  `json:"found"` // what is there
	Want    string  `json:"want"`  // what would have been accepted
	Meaning Meaning `json:"meaning"`
}

// Error names field, found and wanted, and the meaning.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: found %s, want %s (%v: %s)", r.Field, r.Found, r.Want, r.Meaning, r.Meaning.Advice())
}

// Finding is one field that the verdict has looked at: what it holds, what it
// may hold, and whether that fits. Meaning is set only where it does not.
type Finding struct {
	Field   string  `json:"field"`
	Found   string  `json:"found"`
	Want    string  `json:"want"`
	OK      bool    `json:"ok"`
	Meaning Meaning `json:"meaning,omitzero"`
}

func (f Finding) refusal() *Refusal { return &Refusal{f.Field, f.Found, f.Want, f.Meaning} }

// rule is one line of the allow-list. A disk that breaks it means what broken
// says.
type rule struct {
	field       string
	ok          bool
	found, want any
	broken      Meaning
}

// equals is the rule that found must be want.
func equals(field string, found, want any, broken Meaning) rule {
	return rule{field, found == want, found, want, broken}
}

// holds is a rule whose breach has words of its own instead of a value.
func holds(field string, ok bool, breach, want string, broken Meaning) rule {
	r := rule{field, ok, words(breach), want, broken}
	if ok {
		r.found = words(want)
	}
	return r
}

// ledger takes down what the verdict has looked at, in order.
type ledger struct {
	findings []Finding
	first    []byte // the first sector; empty as long as it was not read
}

// require holds the rules of one place on the disk, all of them, and fails with
// the *Refusal of the first that is broken.
func (l *ledger) require(place string, rules ...rule) error {
	var first error
	for _, r := range rules {
		f := Finding{Field: strings.TrimSpace(place + " " + r.field), Found: shown(r.found), Want: shownWant(r.want), OK: r.ok}
		if !f.OK {
			f.Meaning = r.broken
		}
		l.findings = append(l.findings, f)
		if !f.OK && first == nil {
			first = f.refusal()
		}
	}
	return first
}

// exactly decodes JSON into v, which has all members that are allowed.
func (l *ledger) exactly(place string, raw []byte, v any) error {
	err := exactjson.Unmarshal(raw, v)
	r := holds("JSON", err == nil, "", "exactly its members", Tampered)
	fault, inMember := errors.AsType[*exactjson.Fault](err)
	switch {
	case inMember && fault.Path == "":
		r.found = words("no object")
	case inMember:
		r.field, r.found = "JSON member "+printable.Text(fault.Path), words("one that "+fault.What)
	case err != nil:
		r.found = words(err.Error())
	}
	return l.require(place, r)
}

// words are ours, or printable already, where other strings are the disk's.
type words string

// refuse is a Refusal outside the metadata.
func refuse(field string, found, want any) *Refusal {
	return &Refusal{field, shown(found), shownWant(want), Tampered}
}

// shown quotes what is the disk's.
func shown(v any) string {
	switch v := v.(type) {
	case words:
		return string(v)
	case string:
		return printable.Quote(v)
	}
	return printable.Text(fmt.Sprint(v))
}

// shownWant quotes only what would not be clear without.
func shownWant(v any) string {
	s := fmt.Sprint(v)
	if quoted := printable.Quote(s); s == "" || quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
