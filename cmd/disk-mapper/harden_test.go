package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestHarden runs in a process of its own: what it does cannot be undone.
func TestHarden(t *testing.T) {
	if os.Getenv("HARDEN_TEST_CHILD") == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHarden$", "-test.v")
		child.Env = append(os.Environ(), "HARDEN_TEST_CHILD=1")
		out, err := child.CombinedOutput()
		assert.NoError(t, err, string(out))
		assert.Contains(t, string(out), "--- PASS: TestHarden")
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

const unitFile = "../../image/mkosi/mkosi.extra/usr/lib/systemd/system/disk-mapper.service"

// TestUnitExposure has systemd rate the unit: 3.0 of 10 at most.
func TestUnitExposure(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", "--threshold=30", unitFile).CombinedOutput()
	assert.NoError(t, err, string(out))
	assert.Contains(t, string(out), "Overall exposure level for disk-mapper.service")
}
