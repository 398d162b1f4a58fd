//go:build vm

package cluster

import (
	"io/fs"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// killer waits until the daemon waits, with its port open, and kills it.
const killer = `[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'until grep -q ":270F .* 0A " /proc/net/tcp /proc/net/tcp6; do sleep 0.2; done; systemctl kill --signal=KILL disk-mapper.service'
`

// cut is a boot that ends at a line of the console.
type cut struct {
	at    string
	found string // what the daemon must have found on the disk that the last boot left
}

// TestCutAtEveryStep is a chain of boots of one node. Each is cut, at another
// step that one sees on the console (TestKill and TestPowerCuts know finer ones),
// and the next one finds a disk that is as new until the node has joined,
// and then one that keeps what was on it. One ends because the waiting daemon is
// killed: its unit reboots the machine.
func TestCutAtEveryStep(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	require.NoError(t, vmtest.NewDisk(n.disk, 48<<20))
	require.NoError(t, n.StartMetadata(t.Context()))
	n.cut(t, cut{`"msg":"Wiping disk"`, `"state":"blank"`})
	n.cut(t, cut{"Requesting join ticket", `"state":"prepared"`})
	require.NoError(t, n.StartJoinService(t.Context()))
	n.cut(t, cut{"Joined the cluster", `"state":"prepared"`})

	require.NoError(t, n.StopJoinService())
	vm := n.bootQuickly(t,
		vmtest.File{Path: "/usr/lib/systemd/system/killer.service", Content: []byte(killer)},
		vmtest.File{Path: "/usr/lib/systemd/system/node.target.wants/killer.service", Content: []byte("../killer.service"), Mode: fs.ModeSymlink})
	waitEnd(t, vm, vmtest.Reset)
	assert.Contains(t, console(vm), "Waiting for decryption key")
	assert.NotContains(t, console(vm), "node:")

	require.NoError(t, n.StartJoinService(t.Context()))
	n.cut(t, cut{"State disk is ready", "Preparing existing state disk"})
	vm = n.bootQuickly(t)
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "node: history: first boot\nnode: history: later boot\n")
}

func (n node) cut(t *testing.T, c cut) {
	t.Helper()
	vm := n.bootQuickly(t)
	waitFor(t, vm, c.at)
	vm.Kill()
	assert.Contains(t, console(vm), c.found, "cut at %s", c.at)
}

// bootQuickly boots without UEFI: nothing here depends on what was measured.
func (n node) bootQuickly(t *testing.T, overlay ...vmtest.File) *vmtest.VM {
	t.Helper()
	config := n.NodeConfig(n.image, t.Output(), n.disk)
	config.Firmware = vmtest.BIOS
	config.Overlay = append(config.Overlay, overlay...)
	vm, err := vmtest.Boot(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, vm.Close()) })
	return vm
}
