//go:build vm

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"disk-mapper/disk"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"
	"disk-mapper/setup"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	// inKillGuest is set where TestGuestKill runs: in a VM, as root, with one blank disk.
	inKillGuest = "KILL_TEST_IN_GUEST"
	// killRun names what a child of TestGuestKill does, killStep where it ends.
	killRun  = "KILL_TEST_RUN"
	killStep = "KILL_TEST_STEP"

	killDisk = "/dev/vda"
	// killRoot is in memory, as / is for the daemon's files in the initrd.
	killRoot = "/run/kill-test"
)

// TestKill runs this test binary in a VM.
func TestKill(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	image, err := vmtest.FindImage()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, vmtest.NewDisk(path, 34<<20))
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	result, err := vmtest.Run(ctx, vmtest.Config{
		Image: image, Disks: []string{path}, Firmware: vmtest.BIOS, Console: t.Output(),
		Overlay: []vmtest.File{{Path: "/vmtest/main.test", Host: self, Mode: 0o755}},
	}, "GODEBUG=cpu.sse41=off "+inKillGuest+"=1 ./main.test -test.v -test.run '^TestGuestKill'")
	require.NoError(t, err)
	assert.Zero(t, result.ExitCode)
	assert.Contains(t, result.Output, "--- PASS: TestGuestKill")
}

// killTicket is what the cluster of these tests hands out.
func killTicket(t *testing.T) ticket {
	t.Helper()
	k, err := newTicket(fullResponse(), cloud.Worker)
	require.NoError(t, err)
	return k
}

// TestGuestKillChild is the process that is killed.
func TestGuestKillChild(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), unix.SIGTERM)
	defer stop()
	m := newMortal()
	handover := setup.Handover{Root: killRoot}
	switch os.Getenv(killRun) {
	case "boot":
		d, err := openUnusedDisk(ctx, killDisk, disk.Open)
		require.NoError(t, err)
		require.NoError(t, setup.Boot{
			Disk: mortalDisk{d, m}, Sources: []setup.Source{mortalSource{m, killTicket(t).Pair}}, Register: mortalRegister{m},
			Handover: handover, Status: func(string) {}, Log: zap.NewNop(),
		}.Run(ctx))
	case "enroll":
		d, err := openStateDisk(ctx, killDisk)
		require.NoError(t, err)
		current, err := handover.ReadKey()
		require.NoError(t, err)
		writeState := func(root, role string, salt keys.MeasurementSalt) error {
			return errors.Join(disk.WriteNodeState(root, role, salt), m.at(ctx, "state"))
		}
		require.NoError(t, enrolment{mortalRegister{m}, mortalDisk{d, m}, writeState}.run(ctx, current, killTicket(t)))
	default:
		t.Skip("runs as a child of TestGuestKill")
	}
	_ = m.at(ctx, "end")
}

// child runs until it is killed at step, or to its end.
func child(t *testing.T, run, step string) (killed bool, output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestGuestKillChild$")
	cmd.Env = append(os.Environ(), killRun+"="+run, killStep+"="+step)
	raw, err := cmd.CombinedOutput()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signaled() && status.Signal() == unix.SIGKILL, string(raw), err
}

func killed(t *testing.T, run, step string) {
	t.Helper()
	killed, output, _ := child(t, run, step)
	require.True(t, killed, "%s at %s: %s", run, step, output)
}

func lives(t *testing.T, run string) {
	t.Helper()
	_, output, err := child(t, run, "")
	require.NoError(t, err, output)
}

// reboot does away with what a reboot does away with.
func reboot(t *testing.T) {
	t.Helper()
	_ = unix.Unmount(stateMount, 0)
	for _, name := range mappings(t) {
		if !strings.HasSuffix(name, "_dif") {
			require.NoError(t, disk.Close(name))
		}
	}
	require.Empty(t, mappings(t))
	require.NoError(t, os.RemoveAll(killRoot))
}

// mappings are those that there are.
func mappings(t *testing.T) (names []string) {
	t.Helper()
	found, err := filepath.Glob("/sys/class/block/dm-*/dm/name")
	require.NoError(t, err)
	for _, path := range found {
		name, err := os.ReadFile(path)
		require.NoError(t, err)
		names = append(names, strings.TrimSpace(string(name)))
	}
	return names
}

func keyFileIsThere(t *testing.T) bool {
	t.Helper()
	found, err := filepath.Glob(killRoot + "/run/cryptsetup-keys.d/*")
	require.NoError(t, err)
	return len(found) > 0
}

func stateNow(t *testing.T) disk.State {
	t.Helper()
	d, err := disk.Open(t.Context(), killDisk)
	require.NoError(t, err)
	return d.State()
}

// metadataNow is all of the metadata that is not zero by definition: headers and
// keyslot.
func metadataNow(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open(killDisk)
	require.NoError(t, err)
	defer f.Close()
	raw := make([]byte, 1<<20)
	_, err = f.ReadAt(raw, 0)
	require.NoError(t, err)
	return raw
}

// refusesBeforeReboot: a second run in the same boot does nothing but say so.
func refusesBeforeReboot(t *testing.T, want string) {
	t.Helper()
	before, mapped := metadataNow(t), mappings(t)
	_, output, err := child(t, "boot", "")
	require.Error(t, err)
	assert.Contains(t, output, want)
	assert.True(t, bytes.Equal(before, metadataNow(t)))
	assert.Equal(t, mapped, mappings(t))
}

// TestGuestKill is one disk's life, in which each process is killed at each step.
func TestGuestKill(t *testing.T) {
	if os.Getenv(inKillGuest) == "" || os.Getenv(killRun) != "" {
		t.Skip("runs in a VM, through TestKill")
	}
	require.NoError(t, os.MkdirAll(stateMount, 0o700))
	t.Run("format", testKillFormat)
	t.Run("enroll", testKillEnroll)
	t.Run("unlock", testKillUnlock)
}

const (
	inUse    = "is mapped or mounted already"
	keyIsSet = "file exists"
)

func testKillFormat(t *testing.T) {
	for _, tc := range []struct {
		step    string
		want    disk.State
		refusal string
	}{
		{"key file", disk.Blank, keyIsSet},
		{"wipe begins", disk.Prepared, inUse},
		{"wipe", disk.Prepared, inUse},
		{"format", disk.Prepared, keyIsSet},
		{"unlock", disk.Prepared, inUse},
	} {
		killed(t, "boot", tc.step)
		require.Equal(t, tc.want, stateNow(t), tc.step)
		refusesBeforeReboot(t, tc.refusal)
		reboot(t)
	}
	fails(t, "wipe/term")
	require.NoError(t, os.MkdirAll(killRoot+"/run", 0o700))
	require.NoError(t, os.WriteFile(killRoot+"/run/systemd", nil, 0o600)) // then the unit cannot be written
	fails(t, "")
	require.Equal(t, disk.Prepared, stateNow(t))
	reboot(t)
}

// fails runs the daemon to an end that is none of the good ones: it has undone
// what it did.
func fails(t *testing.T, step string) {
	t.Helper()
	killed, output, err := child(t, "boot", step)
	require.Error(t, err, step)
	require.False(t, killed)
	assert.Empty(t, mappings(t), "%s: %s", step, output)
	assert.False(t, keyFileIsThere(t), step)
}

// mountState does what the booted system does with a mapped new disk.
func mountState(t *testing.T) {
	t.Helper()
	require.NoError(t, unix.Mount(mappingPath, stateMount, "ext4", 0, ""))
}

func testKillEnroll(t *testing.T) {
	lives(t, "boot")
	mountState(t)
	for _, step := range []string{"extend", "state"} {
		killed(t, "enroll", step)
		require.Equal(t, disk.Prepared, stateNow(t), step)
	}
	reboot(t)
	lives(t, "boot")
	mountState(t)
	killed(t, "enroll", "header")
	require.Equal(t, disk.Joined, stateNow(t))
	reboot(t)
}

func testKillUnlock(t *testing.T) {
	before := metadataNow(t)
	for _, tc := range []struct {
		step   string
		mapped bool
	}{
		{"waiting", false}, {"proof", false}, {"extend", false}, {"unlock", true}, {"salt", true}, {"end", true},
	} {
		killed(t, "boot", tc.step)
		require.Equal(t, tc.mapped, len(mappings(t)) > 0, tc.step)
		require.False(t, keyFileIsThere(t), tc.step)
		if tc.mapped {
			refusesBeforeReboot(t, inUse)
		}
		reboot(t)
		require.True(t, bytes.Equal(before, metadataNow(t)), tc.step)
	}
	for _, step := range []string{"waiting/term", "unlock/term", "salt/fail", "extend/fail"} {
		fails(t, step)
	}
	lives(t, "boot")
	require.NoError(t, unix.Mount(mappingPath, stateMount, "ext4", 0, ""))
	assert.FileExists(t, filepath.Join(stateMount, "constellation/node_state.json"))
	reboot(t)
	assert.True(t, bytes.Equal(before, metadataNow(t)))
}
