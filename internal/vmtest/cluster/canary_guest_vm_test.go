//go:build vm

package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

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
