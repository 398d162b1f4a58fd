package faults

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// OpenFiles is how many descriptors a process has, to see what it leaks or what
// an attack costs it.
func OpenFiles(pid int) (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(open), err
}

// PeakMemory is the most that a process has had in memory since it was started,
// in MiB. What the kernel reports when a process has ended is not that: it
// includes what its parent had.
func PeakMemory(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := bytes.Cut(raw, []byte("VmHWM:"))
	kib, _, _ := bytes.Cut(bytes.TrimSpace(after), []byte(" "))
	n, err := strconv.Atoi(string(kib))
	return float64(n) / 1024, err
}
