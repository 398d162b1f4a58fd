package main

import (
	"context"
	"errors"
	"time"
)

// pollInterval is between two looks at what the kernel brings up.
const pollInterval = 100 * time.Millisecond

// errNotInTime is for what did not come.
var errNotInTime = errors.New("it did not come in time")

// poll looks at once, and then again and again, until done says so. It fails with
// errNotInTime, or with the cause of the end of ctx.
func poll(ctx context.Context, timeout time.Duration, done func() bool) error {
	deadline := time.After(timeout)
	again := time.NewTicker(pollInterval)
	defer again.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return errNotInTime
		case <-again.C:
		}
	}
	return nil
}
