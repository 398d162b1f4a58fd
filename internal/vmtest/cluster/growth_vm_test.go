//go:build vm

package cluster

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watch keeps the node up until its disk has grown, and asks how far it is.
const watch = `[Service]
ExecStartPost=-/usr/bin/disk-mapper status
ExecStartPost=/bin/sh -c 'until disk-mapper status -json | grep complete; do systemctl --property=StatusText show disk-mapper-grow; sleep 1; done'
ExecStartPost=/bin/sh -c 'while systemctl is-active --quiet disk-mapper-grow; do sleep 0.2; done; systemctl --property=Result --property=ExecMainStatus show disk-mapper-grow'
`

// behindRoom has the node start when there is room that its first boot does not have.
const behindRoom = `[Unit]
Wants=disk-mapper-room@340M.service
After=disk-mapper-room@340M.service
`

// TestGrowthAcrossBoots is a node with a disk that is larger than what its first
// boot wipes: the unit of the booted system grows it, goes on after a restart and
// ends. Then the disk is enlarged, and it grows on; all without a sector that
// cannot be read.
func TestGrowthAcrossBoots(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	require.NoError(t, vmtest.NewDisk(n.disk, 1536<<20))
	require.NoError(t, n.StartMetadata(t.Context()))
	require.NoError(t, n.StartJoinService(t.Context()))
	vm := n.bootQuickly(t, vmtest.File{Path: "/usr/lib/systemd/system/node.service.d/room.conf", Content: []byte(behindRoom)})
	waitEnd(t, vm, vmtest.PowerOff)
	room := growthLines(t, vm, `"msg":"The state disk has the room that was waited for"`)[0]
	assert.GreaterOrEqual(t, room["freeBytes"], float64(340<<20))
	assert.Less(t, strings.Index(console(vm), "the room that was waited for"), strings.Index(console(vm), "node: "), "the node started behind it")
	assert.NotContains(t, console(vm), "INTEGRITY AEAD ERROR")
	assert.Contains(t, console(vm), "the rest is left to disk-mapper grow")
	const growing, interrupted = `"msg":"Growing the state disk"`, "Growing the state disk was interrupted, the next start goes on"
	first := growthLines(t, vm, growing)[0]
	assert.GreaterOrEqual(t, first["fileSystemBytes"], float64(256<<20))
	left := growthLines(t, vm, interrupted)[0]

	vm = n.watched(t)
	resumed := growthLines(t, vm, growing)[0]
	assert.GreaterOrEqual(t, resumed["progressPercent"], left["progressPercent"], "a step may have ended since the unit looked last")
	assert.Greater(t, resumed["fileSystemBytes"], first["fileSystemBytes"])
	for _, line := range []string{
		"the file system grows", "StatusText=Growing the state disk: ", `"state": "complete"`, `"msg":"Grew the state disk to its full size"`,
		"Result=success\nExecMainStatus=0\n",
	} {
		assert.Contains(t, console(vm), line)
	}

	require.NoError(t, os.Truncate(n.disk, 1736<<20))
	vm = n.watched(t)
	grown := growthLines(t, vm, growing)[0]
	assert.Greater(t, grown["fileSystemBytes"], float64(1480<<20))
	assert.Greater(t, grown["finalBytes"], float64(1600<<20))
	assert.Contains(t, console(vm), `"msg":"Grew the state disk to its full size"`)
}

func (n node) watched(t *testing.T) *vmtest.VM {
	t.Helper()
	vm := n.bootQuickly(t, vmtest.File{Path: "/usr/lib/systemd/system/node.service.d/watch.conf", Content: []byte(watch)})
	waitEnd(t, vm, vmtest.PowerOff)
	assert.NotContains(t, console(vm), "INTEGRITY AEAD ERROR")
	assert.NotContains(t, console(vm), "I/O error")
	return vm
}

// growthLines are those of the unit with this text; there is one at least.
func growthLines(t *testing.T, vm *vmtest.VM, text string) (lines []map[string]any) {
	t.Helper()
	for _, line := range vm.Lines() {
		if at := strings.IndexByte(line.Text, '{'); at >= 0 && strings.Contains(line.Text, text) {
			var fields map[string]any
			require.NoError(t, json.Unmarshal([]byte(line.Text[at:]), &fields))
			lines = append(lines, fields)
		}
	}
	require.NotEmpty(t, lines, "%s is not on the console", text)
	return lines
}
