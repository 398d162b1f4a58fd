package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps what this process will know to itself: no core file, no debugger.
// The limit is for children and for kernels that are set to dump all the same.
func harden() error {
	err := errors.Join(
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
	)
	if err != nil {
		return fmt.Errorf("hardening the process: %w", err)
	}
	return nil
}
