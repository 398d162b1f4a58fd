// Package argument has values for flags that are not taken for something else
// without a word: an empty one is not the default, and a second one does not
// replace the first.
package argument

import (
	"errors"
	"fmt"
	"strconv"

	"disk-mapper/internal/printable"
)

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

// Number is a value for flags that take one.
type Number struct {
	value *int
	given bool
}

// NewNumber returns a value that is 0 unless the flag is given. It is kept in value.
func NewNumber(value *int) *Number { return &Number{value: value} }

// Set fails with ErrEmpty or ErrTwice, or if s is no number.
func (n *Number) Set(s string) error {
	if s == "" {
		return ErrEmpty
	}
	if n.given {
		return ErrTwice
	}
	number, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("%s is no number", printable.Quote(s))
	}
	*n.value, n.given = number, true
	return nil
}

// String returns the value; 0 for the zero value.
func (n *Number) String() string {
	if n.value == nil {
		return "0"
	}
	return strconv.Itoa(*n.value)
}
