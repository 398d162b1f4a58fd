package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// DefaultBanks are the PCR banks of a TPM whose Banks are not given.
var DefaultBanks = []string{"sha1", "sha256", "sha384", "sha512"}

// stateFile is where swtpm keeps what outlives a boot.
const stateFile = "tpm2-00.permall"

// provision gives a TPM its first state, with an endorsement key, unless it has one. No TPM needs none.
func (t TPM) provision(ctx context.Context) error {
	if t.StateDir == "" {
		return nil
	}
	_, err := os.Stat(filepath.Join(t.StateDir, stateFile))
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for a TPM's state: %w", err)
	}
	return t.setup(ctx)
}

func (t TPM) setup(ctx context.Context) error {
	if err := os.MkdirAll(t.StateDir, 0o700); err != nil {
		return fmt.Errorf("making the TPM's directory: %w", err)
	}
	dir, err := filepath.Abs(t.StateDir)
	if err != nil {
		return fmt.Errorf("finding the TPM's directory: %w", err)
	}
	banks := t.Banks
	if len(banks) == 0 {
		banks = DefaultBanks
	}
	command := exec.CommandContext(ctx, "swtpm_setup", "--tpm2", "--tpmstate", dir,
		"--create-ek-cert", "--pcr-banks", strings.Join(banks, ","), "--overwrite")
	command.SysProcAttr = endWithParent()
	if output, err := command.CombinedOutput(); err != nil {
		// A half-made state must not pass for a TPM on the next boot.
		return errors.Join(fmt.Errorf("provisioning the TPM: %w: %s", err, output), os.RemoveAll(filepath.Join(dir, stateFile)))
	}
	return nil
}

// command runs a TPM for one boot: it ends with the peer of control.
func (t TPM) command(ctx context.Context, control *os.File) (*exec.Cmd, error) {
	dir, err := filepath.Abs(t.StateDir) // swtpm changes its directory
	if err != nil {
		return nil, fmt.Errorf("finding the TPM's directory: %w", err)
	}
	command := exec.CommandContext(ctx, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--ctrl", "type=unixio,clientfd=3", "--terminate")
	command.ExtraFiles = []*os.File{control}
	command.SysProcAttr = endWithParent()
	return command, nil
}
