// Package argument has values for flags that are not taken for something else
// without a word: an empty one is not the default, and a second one does not
// replace the first.
package argument

import "errors"

var (
	// ErrEmpty reports a flag without a value.
	ErrEmpty = errors.New("the value is empty: give one, or leave the flag out")
	// ErrTwice reports a flag that is given twice.
	ErrTwice = errors.New("the flag is given twice, and takes one value")
)

// Word is a value for the flags of package flag and of cobra.
type Word struct {
	value *string
	given bool
}

// NewWord returns a value that is byDefault unless the flag is given. It is kept in
// value. The default may be empty.
func NewWord(value *string, byDefault string) *Word {
	*value = byDefault
	return &Word{value: value}
}

// Set fails with ErrEmpty or ErrTwice.
func (w *Word) Set(s string) error {
	if s == "" {
		return ErrEmpty
	}
	if w.given {
		return ErrTwice
	}
	*w.value, w.given = s, true
	return nil
}

// String returns the value; empty for the zero value.
func (w *Word) String() string {
	if w.value == nil {
		return ""
	}
	return *w.value
}

// Type is what cobra tells of it in its help.
func (*Word) Type() string { return "string" }
