//go:build vm

package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHeaderDrill loses the first 17 MiB of a node's disk: both headers, the keyslot,
// dm-integrity's superblock, and half of its journal. With the backup the node comes back.
func TestHeaderDrill(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	n.blank(t)
	require.NoError(t, n.StartMetadata(t.Context()))
	require.NoError(t, n.StartJoinService(t.Context()))
	vm := n.boot(t)
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "node: joined")

	kept := filepath.Join(t.TempDir(), "header")
	n.diskMapper(t, 0, "header of disk ", "header", "backup", n.disk, kept)
	n.diskMapper(t, 0, "the master secret opens it", "header", "check", "-master-secret", n.File(masterSecretFile), kept)
	n.diskMapper(t, 0, "master secret  opens it", "inspect", "-master-secret", n.File(masterSecretFile), n.disk)
	said := n.diskMapper(t, 0, "has the header of disk", "header", "restore", kept, n.disk)
	assert.NotContains(t, said, "journal", "the kernel's own journal was taken for a damaged one")

	f, err := os.OpenFile(n.disk, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 17<<20), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	n.diskMapper(t, 5, "disk-mapper header restore", "inspect", n.disk)
	n.diskMapper(t, 0, "journal was damaged and is empty now", "header", "restore", kept, n.disk)
	n.diskMapper(t, 0, "has this header", "header", "check", kept, n.disk)

	vm = n.boot(t)
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "Successfully retrieved rejoin ticket")
	assert.Contains(t, console(vm), "node: up")
	assert.NotContains(t, console(vm), "Preparing new state disk")
	assert.NotContains(t, console(vm), "journal commit id", "the kernel did not like the journal")
}

// diskMapper runs the program on this machine, and returns what it printed.
func (n node) diskMapper(t *testing.T, exit int, says string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(n.programs, "disk-mapper"), args...)
	out, err := c.CombinedOutput()
	if _, ok := err.(*exec.ExitError); !ok {
		require.NoError(t, err)
	}
	assert.Equal(t, exit, c.ProcessState.ExitCode(), "%v: %s", args, out)
	assert.Contains(t, string(out), says)
	return string(out)
}
