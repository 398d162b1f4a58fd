package vmtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProvisionKeepsATPM(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "tpm")
	tpm := TPM{StateDir: dir, Banks: []string{"sha256"}}
	require.NoError(t, tpm.provision(t.Context()))
	first, err := os.ReadFile(filepath.Join(dir, stateFile))
	require.NoError(t, err)
	require.NoError(t, tpm.provision(t.Context()))
	second, err := os.ReadFile(filepath.Join(dir, stateFile))
	require.NoError(t, err)
	assert.Equal(t, first, second)
}

// A swtpm_setup that is killed leaves what it has written so far.
func TestProvisionLeavesNoHalfTPM(t *testing.T) {
	bin := t.TempDir()
	dir := filepath.Join(t.TempDir(), "tpm")
	fake := "#!/bin/sh\necho half >" + filepath.Join(dir, stateFile) + "\necho no banks\nexit 1\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "swtpm_setup"), []byte(fake), 0o700))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	assert.ErrorContains(t, TPM{StateDir: dir}.provision(t.Context()), "no banks")
	assert.NoFileExists(t, filepath.Join(dir, stateFile))
}
