package attestation

import (
	"context"
	"errors"
)

// Fault is a kind of refusal of a peer. Its class is one word, the same in all
// programs, for logs and scripts.
type Fault struct{ class, text string }

// NewFault returns an error to compare with, as errors.New does.
func NewFault(class, text string) error { return &Fault{class, text} }

func (f *Fault) Error() string { return f.text }

// ClassOf is the class of the Fault that err wraps, "timeout" for a judgement
// that took too long, and empty for anything else.
func ClassOf(err error) string {
	if fault, ok := errors.AsType[*Fault](err); ok {
		return fault.class
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return ""
}
