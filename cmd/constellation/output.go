package main

import (
	"fmt"
	"io"

	"disk-mapper/internal/printable"
)

// maxMessage is how many bytes of an error are printed: more than any of ours has.
const maxMessage = 8 << 10

// output is the last place that text passes on its way to the operator. Newlines
// are ours: what others wrote has none when it gets here.
type output struct{ io.Writer }

func (o output) Write(text []byte) (int, error) {
	if _, err := io.WriteString(o.Writer, printable.Multiline(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// complain prints the error that the program ends with.
func complain(stderr io.Writer, err error) {
	text := err.Error()
	if len(text) > maxMessage {
		text = fmt.Sprintf("%s... (%d bytes)", text[:maxMessage], len(text))
	}
	_, _ = fmt.Fprintln(output{stderr}, "Error:", text) // there is no other place to say so
}
