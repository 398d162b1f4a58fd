//go:build vm

package cluster

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inGuest is set where the tests named TestGuest run: in the node, as root.
const inGuest = "CANARY_IN_GUEST"

// In the guest, secrets that the test does not know by itself lie where nobody
// searches, and in a form that nobody looks for: with all bits inverted.
const (
	canaryDir    = "/canary"
	canaryBinary = canaryDir + "/cluster.test"
	invertedDir  = canaryDir + "/inverted"
)

// canary is what the test itself leaves in all kinds of places, to see it found.
var canary = bytes.Repeat([]byte("do you find me? "), 2)

func invert(b []byte) []byte {
	b = bytes.Clone(b)
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

// clusterSecrets are those of vector A's master secret and of the disk with a
// header at path, and the canary.
func clusterSecrets(t *testing.T, path string) secrets {
	t.Helper()
	master, err := keys.ParseMasterSecret([]byte(vectorMasterSecret))
	require.NoError(t, err)
	pair, err := master.Pair(diskID(t, path))
	require.NoError(t, err)
	var file struct{ Key []byte }
	require.NoError(t, json.Unmarshal([]byte(vectorMasterSecret), &file))
	return secrets{
		"canary": canary, "master key": file.Key, "disk key": pair.Disk.Bytes(), "measurement secret": pair.Measurement.Bytes(),
	}
}

func diskID(t *testing.T, path string) keys.DiskID {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var uuid [36]byte
	_, err = f.ReadAt(uuid[:], 168) // of a LUKS2 header
	require.NoError(t, err)
	id, err := keys.ParseDiskID(string(uuid[:]))
	require.NoError(t, err)
	return id
}

// volumeKey is the key of the data, in three parts.
func volumeKey(t *testing.T, disk string, diskKey []byte) secrets {
	t.Helper()
	dir := t.TempDir()
	key, out := filepath.Join(dir, "key"), filepath.Join(dir, "volume-key")
	require.NoError(t, os.WriteFile(key, diskKey, 0o600))
	said, err := exec.CommandContext(t.Context(), "cryptsetup", "luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file", out, "--key-file", key, disk).CombinedOutput()
	require.NoError(t, err, string(said))
	raw, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Len(t, raw, 96)
	return secrets{"volume key, first part": raw[:32], "volume key, second part": raw[32:64], "volume key, third part": raw[64:]}
}

// Without what the unit does against core files and with a runtime that asks for
// one, so that it is the daemon itself that prevents them.
const canaryDropIn = `[Service]
LimitCORE=infinity
Environment=GOTRACEBACK=crash
Restart=on-failure
RestartMode=direct
`

const coresUnit = `[Unit]
DefaultDependencies=no

[Service]
Type=oneshot
RemainAfterExit=yes
LimitCORE=infinity
Environment=` + inGuest + `=1
ExecStart=` + canaryBinary + ` -test.v -test.run=^TestGuestCores$
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
`

const searchDropIn = `[Service]
Environment=` + inGuest + `=1
ExecStartPre=` + canaryBinary + ` -test.v -test.run=^TestGuestKeyFile$
ExecStartPost=` + canaryBinary + ` -test.v -test.run=^TestGuestSearch$
`

// TestNoSecretLeaves recovers a node, whose daemon was killed once before, and
// then searches for its keys wherever others could read them.
func TestNoSecretLeaves(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	n.oldDisk(t)
	wanted := clusterSecrets(t, n.disk)
	require.Equal(t, vectorDiskKey, hex.EncodeToString(wanted["disk key"]))
	ofDisk := volumeKey(t, n.disk, wanted["disk key"])
	maps.Copy(wanted, ofDisk)
	var overlay []vmtest.File
	for name, secret := range ofDisk {
		overlay = append(overlay, vmtest.File{Path: invertedDir + "/" + name, Content: invert(secret)})
	}
	vm := n.bootSearched(t, append(overlay,
		vmtest.File{Path: "/usr/lib/systemd/system/disk-mapper.service.d/zz-canary.conf", Content: []byte(canaryDropIn)},
		vmtest.File{Path: "/usr/lib/systemd/system/cores.service", Content: []byte(coresUnit)},
		vmtest.File{Path: "/usr/lib/systemd/system/disk-mapper.service.wants/cores.service", Content: []byte("../cores.service"), Mode: fs.ModeSymlink},
	)...)
	require.Contains(t, waitFor(t, vm, ": TestGuestCores (").Text, "PASS")
	killed := waitFor(t, vm, "Starting RecoveryServer")
	waitAfter(t, vm, killed, "Starting RecoveryServer")
	outcome := n.operator(t, n.RecoverArgs()...)
	assert.Zero(t, outcome.Exit)
	waitEnd(t, vm, vmtest.PowerOff)
	n.searched(t, vm, wanted)
}

// TestNoSecretLeavesFirstBoot does so after a disk was formatted and enrolled.
func TestNoSecretLeavesFirstBoot(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	require.NoError(t, vmtest.NewDisk(n.disk, 64<<20))
	require.NoError(t, n.StartJoinService(t.Context()))
	vm := n.bootSearched(t)
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "node: joined")
	wanted := clusterSecrets(t, n.disk)
	maps.Copy(wanted, volumeKey(t, n.disk, wanted["disk key"]))
	_, first, _ := strings.Cut(waitFor(t, vm, firstKeyLine).Text, firstKeyLine)
	inverted, err := hex.DecodeString(first)
	require.NoError(t, err)
	require.Len(t, inverted, keys.Size)
	wanted["first key"] = invert(inverted)
	n.searched(t, vm, wanted)
}

// bootSearched boots a node that searches itself once it is up.
func (n node) bootSearched(t *testing.T, overlay ...vmtest.File) *vmtest.VM {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, n.StartMetadata(t.Context()))
	config := n.NodeConfig(n.image, t.Output(), n.disk)
	config.Overlay = append(append(config.Overlay, overlay...),
		vmtest.File{Path: canaryBinary, Host: self, Mode: 0o755},
		vmtest.File{Path: "/usr/lib/systemd/system/node.service.d/canary.conf", Content: []byte(searchDropIn)},
	)
	vm, err := vmtest.Boot(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, vm.Close()) })
	return vm
}

// searched looks at what the node found, and searches what is left of it.
func (n node) searched(t *testing.T, vm *vmtest.VM, wanted secrets) {
	t.Helper()
	assert.Contains(t, console(vm), "--- PASS: TestGuestSearch")
	assert.Contains(t, console(vm), "node: up")
	s := newSearch(wanted)
	found, err := s.in(strings.NewReader(console(vm)))
	require.NoError(t, err)
	assert.Equal(t, []string{"canary"}, found, "on the console")
	assert.Equal(t, []string{"canary"}, s.inFile(t, n.File(bootDisk)), "on the disk where the canary was put")
	assert.Empty(t, s.inFile(t, n.disk), "on the state disk")
}

func waitAfter(t *testing.T, vm *vmtest.VM, after vmtest.Line, text string) {
	t.Helper()
	_, err := vm.WaitLineAfter(t.Context(), after, func(line string) bool { return strings.Contains(line, text) })
	require.NoError(t, err)
}

func (s *search) inFile(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	found, err := s.in(f)
	require.NoError(t, err)
	return found
}
