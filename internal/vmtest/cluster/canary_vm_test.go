//go:build vm

package cluster

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

func guestOnly(t *testing.T) {
	t.Helper()
	if os.Getenv(inGuest) == "" {
		t.Skip("runs in a VM, through TestNoSecretLeaves")
	}
}

// TestGuestCores kills the daemon while it waits, such that the kernel would
// leave a core file, as it does of another process. systemd starts it again.
func TestGuestCores(t *testing.T) {
	guestOnly(t)
	require.Eventually(t, listening, time.Minute, 100*time.Millisecond)
	const dir, pattern = "/run/cores", "/proc/sys/kernel/core_pattern"
	require.NoError(t, os.Mkdir(dir, 0o777))
	require.NoError(t, os.WriteFile(pattern, []byte(dir+"/%e"), 0))
	other := exec.CommandContext(t.Context(), "sleep", "1000")
	require.NoError(t, other.Start())
	require.NoError(t, other.Process.Signal(unix.SIGABRT))
	require.Error(t, other.Wait())
	info, err := os.Stat(dir + "/sleep")
	require.NoError(t, err, "else this test shows nothing")
	require.NotZero(t, info.Size())
	require.NoError(t, os.Remove(dir+"/sleep"))

	daemon := mainPID(t)
	process := fmt.Sprintf("/proc/%d", daemon)
	status, err := os.ReadFile(process + "/status")
	require.NoError(t, err)
	assert.Regexp(t, `VmLck:\s+[1-9]`, string(status), "keys are in locked memory")
	require.NoError(t, unix.Kill(daemon, unix.SIGABRT))
	require.Eventually(t, func() bool { _, err := os.Stat(process); return errors.Is(err, fs.ErrNotExist) }, time.Minute, 10*time.Millisecond)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	raw, err := os.ReadFile(pattern)
	require.NoError(t, err)
	require.Equal(t, dir+"/%e\n", string(raw), "systemd has settings of its own")
}

func mainPID(t *testing.T) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "systemctl", "show", "--property=MainPID", "--value", "disk-mapper.service").Output()
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	require.Positive(t, pid)
	return pid
}

// listening reports whether somebody waits at the recovery port.
func listening() bool {
	raw, _ := os.ReadFile("/proc/net/tcp6") // none yet: not listening
	port := fmt.Sprintf(":%04X ", recoveryPort)
	return slices.ContainsFunc(strings.Split(string(raw), "\n"), func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) > 3 && strings.HasSuffix(fields[1]+" ", port) && fields[3] == "0A"
	})
}

// places are where secrets were found: names by place.
type places map[string][]string

// firstKeyLine tells the host, with all bits inverted.
const firstKeyLine = "inverted first key: "

// TestGuestKeyFile remembers the first key of a new disk, which is there until
// the node has joined.
func TestGuestKeyFile(t *testing.T) {
	guestOnly(t)
	key, err := os.ReadFile("/run/cryptsetup-keys.d/state.key")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the disk has joined already")
	}
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(invertedDir, 0o700))
	require.NoError(t, os.WriteFile(invertedDir+"/first key", invert(key), 0o600))
	fmt.Printf("%s%x\n", firstKeyLine, invert(key))
}

// TestGuestSearch searches the node after its boot, with the canary in each kind
// of place.
func TestGuestSearch(t *testing.T) {
	guestOnly(t)
	const bootDisk, stateDisk = "/dev/vda", "/dev/vdb"
	wanted := clusterSecrets(t, stateDisk)
	others, err := os.ReadDir(invertedDir)
	require.NoError(t, err)
	require.NotEmpty(t, others)
	for _, entry := range others {
		raw, err := os.ReadFile(filepath.Join(invertedDir, entry.Name()))
		require.NoError(t, err)
		require.Len(t, raw, keys.Size)
		wanted[entry.Name()] = invert(raw)
	}
	planted := plant(t, bootDisk)

	s, found, start := newSearch(wanted), places{}, time.Now()
	s.processes(t, found)
	s.kernelLog(t, found)
	for _, dir := range []string{"/run", "/tmp", "/dev/shm"} {
		s.files(t, found, dir)
	}
	for _, disk := range []string{bootDisk, stateDisk} {
		found.add(disk, s.inFile(t, disk))
	}
	t.Logf("searched for %d secrets in %v", len(wanted), time.Since(start))
	for _, place := range planted {
		assert.Contains(t, found, place)
	}
	for place, names := range found {
		assert.Equal(t, []string{"canary"}, names, place)
	}
}

func (p places) add(place string, names []string) {
	if len(names) > 0 {
		p[place] = names
	}
}

// plant leaves the canary in each kind of place and returns the places.
func plant(t *testing.T, bootDisk string) []string {
	t.Helper()
	text := hex.EncodeToString(canary)
	require.NoError(t, os.MkdirAll("/run/planted/deep", 0o700))
	require.NoError(t, os.WriteFile("/run/planted/deep/.file", append([]byte("."), canary...), 0o400))
	require.NoError(t, os.WriteFile("/tmp/planted", forms(canary)[9], 0o400))
	disk, err := os.OpenFile(bootDisk, os.O_WRONLY|unix.O_SYNC, 0)
	require.NoError(t, err)
	_, err = disk.WriteAt(canary, 5000)
	require.NoError(t, errors.Join(err, disk.Close()))
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = log.WriteString("<0>planted " + text + "\n") // level 0 reaches the console
	require.NoError(t, errors.Join(err, log.Close()))

	process := exec.CommandContext(t.Context(), "sh", "-c", "echo; read line", strings.ToUpper(text))
	process.Env = append(os.Environ(), "PLANTED="+text)
	stdin, err := process.StdinPipe()
	require.NoError(t, err)
	stdout, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	t.Cleanup(func() { assert.NoError(t, stdin.Close()); _ = process.Wait() })
	_, err = stdout.Read(make([]byte, 1)) // it has become the shell
	require.NoError(t, err)
	proc := fmt.Sprintf("/proc/%d/", process.Process.Pid)
	return []string{"/run/planted/deep/.file", "/tmp/planted", bootDisk, "kernel log", proc + "cmdline", proc + "environ"}
}

func (s *search) processes(t *testing.T, found places) {
	t.Helper()
	for _, kind := range []string{"cmdline", "environ"} {
		all, err := filepath.Glob("/proc/[0-9]*/" + kind)
		require.NoError(t, err)
		require.Greater(t, len(all), 10)
		for _, path := range all {
			raw, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue // the process has ended meanwhile
			}
			require.NoError(t, err)
			names, err := s.in(bytes.NewReader(raw))
			require.NoError(t, err)
			found.add(path, names)
		}
	}
}

func (s *search) kernelLog(t *testing.T, found places) {
	t.Helper()
	log, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(log)
	var all []byte
	for record := make([]byte, 64<<10); ; {
		n, err := unix.Read(log, record)
		if errors.Is(err, unix.EAGAIN) { // that was the last one
			break
		}
		require.NoError(t, err)
		all = append(all, record[:n]...)
	}
	names, err := s.in(bytes.NewReader(all))
	require.NoError(t, err)
	found.add("kernel log", names)
}

// files searches all below dir, also what is mounted there.
func (s *search) files(t *testing.T, found places, dir string) {
	t.Helper()
	searched := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		names, err := s.in(io.LimitReader(f, 1<<30))
		found.add(path, names)
		searched++
		return err
	}))
	t.Logf("searched %d files below %s", searched, dir)
}
