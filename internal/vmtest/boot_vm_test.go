//go:build vm

package vmtest

import (
	_ "embed"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

//go:embed testdata/stand-in
var standIn []byte

func standInConfig(t *testing.T) Config {
	t.Helper()
	image, err := FindImage()
	require.NoError(t, err)
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, NewDisk(disk, 64<<20))
	return Config{
		Image: image, Disks: []string{disk}, Console: t.Output(),
		Overlay: []File{{Path: "/usr/bin/disk-mapper", Content: standIn, Mode: 0o755}},
		// systemd waits a minute and a half for a TPM that does not come.
		TPM: TPM{StateDir: filepath.Join(t.TempDir(), "tpm"), Banks: []string{"sha256", "sha384"}},
	}
}

func power(t *testing.T, config Config) *VM {
	t.Helper()
	vm, err := Boot(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, vm.Close()) })
	return vm
}

func text(vm *VM) string {
	var all strings.Builder
	for _, line := range vm.Lines() {
		all.WriteString(line.Text + "\n")
	}
	return all.String()
}

// TestNodeBootsTwice is the life of the image itself: what the daemon's unit
// gives and denies, and that the state outlives a boot.
func TestNodeBootsTwice(t *testing.T) {
	config := standInConfig(t)

	vm := power(t, config)
	start, err := vm.WaitLine(t.Context(), is(`{"level":"INFO","msg":"Starting disk-mapper"}`))
	require.NoError(t, err)
	t.Logf("power-on to daemon: %v", start.At)
	end, err := vm.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, PowerOff, end)
	for name, want := range map[string]string{
		"network":                `"address":"10.42.0.15"`,
		"DNS":                    `"resolver":"127.0.0.53"`,
		"TPM":                    `"tpm":"opened"`,
		"TPM's banks":            `"banks":"pcr-sha256 pcr-sha384"`,
		"privileges":             `"confinement":"CapBnd: 0000000000204000 NoNewPrivs: 1 Seccomp: 2 "`,
		"only memory to write":   `"writable":"/run /tmp "`,
		"the state disk":         "node: first boot, joining the cluster",
		"the register":           "node: PCR 15 " + strings.Repeat("0", 64),
		"the end of a good boot": "node: up\n",
	} {
		assert.Contains(t, text(vm), want, name)
	}
	assert.NotContains(t, text(vm), `"eventLogBytes":"0"`)
	assert.NotContains(t, text(vm), `"device":`, "the unit reaches a device that it does not need")

	vm = power(t, config)
	end, err = vm.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, PowerOff, end)
	assert.Contains(t, text(vm), "node: history: first boot\nnode: history: later boot\n")
}

func TestFailureOfTheDaemonReboots(t *testing.T) {
	config := standInConfig(t)
	config.Firmware, config.Cmdline = BIOS, []string{"stand-in=fail"}
	vm := power(t, config)
	end, err := vm.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, Reset, end)
	assert.NotContains(t, text(vm), "node:")
}

func TestKillCutsThePower(t *testing.T) {
	config := standInConfig(t)
	config.Firmware = BIOS
	vm := power(t, config)
	start, err := vm.WaitFor(t.Context(), "Starting disk-mapper")
	require.NoError(t, err)
	t.Logf("power-on to daemon: %v", start.At)
	vm.Kill()
	end, err := vm.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, Killed, end)
	_, err = vm.WaitFor(t.Context(), "node: up")
	assert.ErrorIs(t, err, ErrEnded)
}

func TestRunReportsOutputAndExitCode(t *testing.T) {
	config := standInConfig(t)
	config.Firmware = BIOS
	result, err := Run(t.Context(), config, "echo hello; id -u >&2; blockdev --getsize64 /dev/vda; exit 7")
	require.NoError(t, err)
	assert.Equal(t, Result{ExitCode: 7, Output: "hello\n0\n67108864\n"}, result)
}

func TestBootReportsWhatQEMUSays(t *testing.T) {
	config := standInConfig(t)
	config.Disks = []string{filepath.Join(t.TempDir(), "absent")}
	vm := power(t, config)
	_, err := vm.Wait(t.Context())
	assert.ErrorContains(t, err, "absent")
	_, err = vm.WaitFor(t.Context(), "anything")
	assert.ErrorIs(t, err, ErrEnded)
	assert.ErrorContains(t, err, "absent")
}
