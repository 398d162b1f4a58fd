package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// alone runs the test in a process of its own, because what it does cannot be
// undone. It reports whether this is that process.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv("TEST_ALONE") != "" {
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), "TEST_ALONE=1")
	out, err := child.CombinedOutput()
	assert.NoError(t, err, string(out))
	assert.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

func TestHarden(t *testing.T) {
	if !alone(t) {
		return
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	require.NoError(t, err)
	require.Equal(t, 1, dumpable, "else this test shows nothing")
	require.NoError(t, harden())
	dumpable, err = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	require.NoError(t, err)
	assert.Zero(t, dumpable)
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_CORE, &limit))
	assert.Equal(t, unix.Rlimit{}, limit)
}

// TestUnlockedMemoryIsSaid, once, and is no reason to fail.
func TestUnlockedMemoryIsSaid(t *testing.T) {
	if !alone(t) {
		return
	}
	runtime.LockOSThread()
	var none [2]unix.CapUserData
	require.NoError(t, unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it goes on until it waits for the disk
	var console bytes.Buffer
	assert.Equal(t, 1, run(ctx, []string{"-csp", "qemu"}, func(string) string { return "" }, &console, &console))
	assert.Equal(t, 1, strings.Count(console.String(), `"msg":"Keys are not in locked memory","error":"locking memory for secrets: operation not permitted"`))
	assert.Contains(t, console.String(), "context canceled")
}

const unitDir = "../../image/mkosi/mkosi.extra/usr/lib/systemd/system/"

// TestUnitExposure has systemd rate the units: 3.0 of 10 at most.
func TestUnitExposure(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	require.NoError(t, err, "systemd-analyze is of the package systemd, which comes with mkosi: make deps")
	for _, unit := range []string{"disk-mapper.service", "disk-mapper-grow.service", "disk-mapper-room@.service"} {
		out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", "--threshold=30", unitDir+unit).CombinedOutput()
		assert.NoError(t, err, string(out))
		assert.Contains(t, string(out), "Overall exposure level for "+strings.TrimSuffix(unit, "@.service"))
	}
}
