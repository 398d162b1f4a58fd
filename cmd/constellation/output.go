package main

import (
	"fmt"
	"io"

	"disk-mapper/internal/printable"
)

// maxMessage is how many bytes of an error are printed: more than any of ours has.
const maxMessage = 8 << 10

// complain prints the error that the program ends with.
func complain(stderr io.Writer, err error) {
	text := err.Error()
	if len(text) > maxMessage {
		text = fmt.Sprintf("%s... (%d bytes)", text[:maxMessage], len(text))
	}
	_, _ = fmt.Fprintln(printable.Writer{Writer: stderr}, "Error:", text) // there is no other place to say so
}
