//go:build vm

package cluster

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is for one boot on a slow machine.
const patience = 3 * time.Minute

// blackHole is an address from which no answer comes; image/isolated.sh makes it.
const blackHole = "192.0.2.77"

// Vector A of the published key derivation.
const (
	vectorUUID         = "12345678-90ab-cdef-1234-567890abcdef"
	vectorDiskKey      = "60616af9434ebe99856112123b7c70a53d338e0afcb4bb6dd939b63e2749eb6c"
	vectorMasterSecret = `{"key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","salt":"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="}`
	otherMasterSecret  = `{"key":"//////////////////////////////////////////8=","salt":"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="}`
	vectorNodeState    = "{\n\t\"Role\": \"ControlPlane\",\n\t\"MeasurementSalt\": \"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=\"\n}"
	vectorPCR          = "F75516D57D358D6ACD9C5E6E5C74B910CA7DA9DDBC7935D0707C9B71656B968D"
	spoiledPCR         = "45162FC3C753DE5EA89A60832A8BA2457FEED84C5BC1BA053640E93028BCF966" // by profile 2.1
	zeroPCR            = "0000000000000000000000000000000000000000000000000000000000000000"
)

//go:embed testdata/console-of-a-recovery.golden
var goldenConsole string

// node is a cluster's one node, and its console.
type node struct {
	*Cluster
	image vmtest.Image
	disk  string
}

func newNode(t *testing.T, profile attestation.Profile) node {
	t.Helper()
	image, err := vmtest.FindImage()
	require.NoError(t, err)
	root := filepath.Dir(filepath.Dir(filepath.Dir(image.Kernel)))
	c, err := New(t.TempDir(), filepath.Join(root, "build"), profile, t.Output())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	require.NoError(t, c.SetMasterSecret([]byte(vectorMasterSecret)))
	return node{c, image, c.File("state-disk")}
}

func (n node) blank(t *testing.T) { require.NoError(t, vmtest.NewDisk(n.disk, 256<<20)) }

func (n node) boot(t *testing.T, cmdline ...string) *vmtest.VM {
	t.Helper()
	config := n.NodeConfig(n.image, t.Output(), n.disk)
	config.Cmdline = withWords(config.Cmdline, cmdline...)
	vm, err := vmtest.Boot(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, vm.Close()) })
	return vm
}

// withWords adds words to a command line. One replaces that of the same name, because
// the daemon refuses two values.
func withWords(line []string, words ...string) []string {
	line = slices.DeleteFunc(slices.Clone(line), func(old string) bool {
		name, _, _ := strings.Cut(old, "=")
		return slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, name+"=") })
	})
	return append(line, words...)
}

func waitFor(t *testing.T, vm *vmtest.VM, text string) vmtest.Line {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line, err := vm.WaitFor(ctx, text)
	require.NoError(t, err)
	return line
}

func waitEnd(t *testing.T, vm *vmtest.VM, want vmtest.End) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := vm.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, want, end)
}

func console(vm *vmtest.VM) string {
	var all strings.Builder
	for _, line := range vm.Lines() {
		all.WriteString(line.Text + "\n")
	}
	return all.String()
}

func (n node) operator(t *testing.T, args ...string) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	outcome, err := n.Operator(ctx, t.Output(), args...)
	require.NoError(t, err)
	return outcome
}

// oldDisk attaches a disk of a cluster before v2.10.
func (n node) oldDisk(t *testing.T) {
	t.Helper()
	made, err := madeOldDisk()
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", made, n.disk).CombinedOutput()
	require.NoError(t, err, string(out))
}

// madeOldDisk has cryptsetup make the disk as such a cluster leaves it:
// benchmarked argon2id, no token, the salt in the file system only.
var madeOldDisk = sync.OnceValues(func() (string, error) {
	key, keyErr := hex.DecodeString(vectorDiskKey)
	image, imageErr := vmtest.FindImage()
	disk := filepath.Join(scratch, "old-disk")
	if err := errors.Join(keyErr, imageErr, vmtest.NewDisk(disk, 128<<20)); err != nil {
		return "", err
	}
	result, err := vmtest.Run(context.Background(), vmtest.Config{
		Image: image, Disks: []string{disk}, Firmware: vmtest.BIOS,
		Overlay: []vmtest.File{{Path: "/vmtest/key", Content: key}, {Path: "/vmtest/node_state.json", Content: []byte(vectorNodeState)}},
	}, `set -e
cryptsetup luksFormat --batch-mode --type luks2 --uuid `+vectorUUID+` --cipher aes-xts-plain64 --key-size 512 \
	--integrity hmac-sha256 --sector-size 4096 --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-parallel 4 --iter-time 200 --key-file key /dev/vda
cryptsetup open --key-file key /dev/vda state
mkfs.ext4 -q /dev/mapper/state
mkdir /run/old
mount /dev/mapper/state /run/old
mkdir /run/old/constellation
install -m 600 node_state.json /run/old/constellation/node_state.json
echo "first boot, long ago" >/run/old/node-history
umount /run/old
cryptsetup close state
`)
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("making the old disk: %s", result.Output)
	}
	return disk, err
})

// TestOldDisk recovers a node of an old cluster by hand, after a try with the
// wrong master secret. Its console is the contract with operators.
func TestOldDisk(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	n.oldDisk(t)
	require.NoError(t, n.StartMetadata(t.Context()))
	vm := n.boot(t)
	waitFor(t, vm, "Waiting for decryption key")
	waitFor(t, vm, "Failed to rejoin on all endpoints")

	require.NoError(t, n.SetMasterSecret([]byte(otherMasterSecret)))
	outcome := n.operator(t, n.RecoverArgs()...)
	assert.Equal(t, 1, outcome.Exit)
	assert.Contains(t, outcome.Stderr, "the master secret in constellation-mastersecret.json does not open state disk "+vectorUUID)
	waitFor(t, vm, "Refused recovery key")

	require.NoError(t, n.SetMasterSecret([]byte(vectorMasterSecret)))
	outcome = n.operator(t, n.RecoverArgs()...)
	assert.Zero(t, outcome.Exit)
	assert.Contains(t, outcome.Stdout, "Pushed recovery key.\n")
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "node: history: first boot, long ago")
	assert.Contains(t, console(vm), "node: PCR 15 "+vectorPCR)
	assert.Contains(t, console(vm), "node: PCR 12 "+zeroPCR)
	assert.NotContains(t, console(vm), "Preparing new state disk")
	assert.NotContains(t, console(vm), "Growing the state disk", "it has its full size")
	assert.Equal(t, goldenConsole, contract(t, vm))
}

// contract is what operators and their scripts rely on: level, logger, message
// and names of fields, each line once.
func contract(t *testing.T, vm *vmtest.VM) string {
	t.Helper()
	var all []string
	for _, line := range vm.Lines() {
		var fields map[string]any
		if json.Unmarshal([]byte(line.Text), &fields) != nil {
			continue // of the kernel, or of the stand-in for the node
		}
		if msg, _ := fields["msg"].(string); strings.HasSuffix(msg, "ResourceExhausted") {
			continue // the right key came within the pause after the wrong one: or did not
		}
		var names []string
		for name := range fields {
			if !slices.Contains([]string{"level", "logger", "msg", "ts", "caller"}, name) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		logger, _ := fields["logger"].(string)
		all = append(all, strings.TrimSpace(fmt.Sprintf("%v %s: %v %s", fields["level"], logger, fields["msg"], strings.Join(names, ","))))
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "\n") + "\n"
}

// TestOldCluster rejoins a node in the profile of 2022, after a JoinService with
// the wrong master secret has given it the wrong key.
func TestOldCluster(t *testing.T) {
	n := newNode(t, attestation.Profile21)
	n.oldDisk(t)
	require.NoError(t, n.SetMasterSecret([]byte(otherMasterSecret)))
	require.NoError(t, n.StartMetadata(t.Context()))
	require.NoError(t, n.StartJoinService(t.Context()))
	vm := n.boot(t)
	line := waitFor(t, vm, "Failed to rejoin on endpoint")
	assert.Contains(t, line.Text, "the key does not open the state disk")
	require.NoError(t, n.StopJoinService())
	require.NoError(t, n.SetMasterSecret([]byte(vectorMasterSecret)))
	require.NoError(t, n.StartJoinService(t.Context()))
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "Successfully retrieved rejoin ticket")
	assert.Contains(t, console(vm), "node: history: first boot, long ago")
	assert.Contains(t, console(vm), "node: PCR 12 "+vectorPCR)
	assert.Contains(t, console(vm), "node: PCR 15 "+spoiledPCR, "what it signs is for its own profile only")
}

// TestForeignDisk attaches a disk with somebody's files: it is refused, with
// words, and not touched.
func TestForeignDisk(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	n.blank(t)
	out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", n.disk).CombinedOutput()
	require.NoError(t, err, string(out))
	before := fileHash(t, n.disk)
	require.NoError(t, n.StartMetadata(t.Context()))
	vm := n.boot(t)
	waitEnd(t, vm, vmtest.Reset)
	assert.Contains(t, console(vm), "Failed to prepare the state disk")
	assert.Contains(t, console(vm), "found an ext2, ext3 or ext4 file system, want LUKS2, or none (foreign: ")
	assert.Equal(t, before, fileHash(t, n.disk))
}

func fileHash(t *testing.T, path string) [32]byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(raw)
}

func TestUnknownPlatform(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	n.blank(t)
	before := fileHash(t, n.disk)
	vm := n.boot(t, "constel.csp=nimbus")
	waitEnd(t, vm, vmtest.Reset)
	assert.Contains(t, console(vm), `unknown cloud platform \"nimbus\", want one of: qemu`)
	assert.Equal(t, before, fileHash(t, n.disk))
}

// TestBlackHole recovers a node that is dialing an address from which no answer
// comes: the dial must not hold the boot up once the key is there.
func TestBlackHole(t *testing.T) {
	conn, err := net.DialTimeout("tcp", blackHole+":30090", time.Second)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() { // unreachable is not silent
		t.Fatalf("%s is no black hole (%v, %v): run this with make test-vm", blackHole, conn, err)
	}
	n := newNode(t, attestation.Profile224)
	n.oldDisk(t)
	require.NoError(t, n.StartMetadata(t.Context(), blackHole))
	vm := n.boot(t)
	waitFor(t, vm, `"Requesting rejoin ticket","endpoint":"`+blackHole+`:30090"`)
	outcome := n.operator(t, n.RecoverArgs()...)
	assert.Zero(t, outcome.Exit)
	waitEnd(t, vm, vmtest.PowerOff)
	key := waitFor(t, vm, "Received state disk key and measurement secret")
	ready := waitFor(t, vm, "State disk is ready") // the last line of the daemon
	var took struct{ MeasureSeconds, UnlockSeconds float64 }
	require.NoError(t, json.Unmarshal([]byte(ready.Text), &took))
	t.Logf("key to exit: %v, of which measuring %v s, unlocking %v s", ready.At-key.At, took.MeasureSeconds, took.UnlockSeconds)
	_, after, _ := strings.Cut(console(vm), key.Text)
	assert.Contains(t, after, "RejoinClient stopped")
	assert.NotContains(t, after, "Failed to rejoin", "the dial was ended, not waited for")
}

// scratch is for what the tests share.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "cluster-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(status)
}
