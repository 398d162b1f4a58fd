//go:build vm

package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/require"
)

const (
	// inMemoryGuest is set where TestMemoryOf runs: in a VM, as root, with two blank disks.
	inMemoryGuest = "DISK_TEST_IN_MEMORY_GUEST"
	// memoryOf names what a child of it does, and with which disk.
	memoryOf = "DISK_TEST_MEMORY_OF"

	memoryKey = "/run/memory-key"
)

// TestBenchMemory prints the peak of memory, VmHWM, of a process that does one
// thing with a disk, and of cryptsetup that does it; make bench asks for it. The daemon has some 20 MiB of program
// more: the SDKs of the clouds.
func TestBenchMemory(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("make bench runs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	result := runSelf(ctx, t, vmtest.Config{Disks: blankDisks(t, 512*mib, 512*mib)}, inMemoryGuest+"=1 ./disk.test -test.v -test.run '^TestMemoryOf$'")
	for line := range strings.Lines(result.Output) {
		if strings.HasPrefix(line, "| ") {
			fmt.Print(line)
		}
	}
	require.Zero(t, result.ExitCode, result.Output)
}

// TestMemoryOf holds the peaks against what is promised, in MiB above the peak of a
// process that does nothing.
func TestMemoryOf(t *testing.T) {
	if os.Getenv(inMemoryGuest) == "" {
		t.Skip("runs in a VM, through TestBenchMemory")
	}
	const ours, costly = "/dev/vda", "/dev/vdb"
	fmt.Println("| what | VmHWM in MiB |")
	idle := peakOf(t, "nothing", ours)
	for _, do := range []string{"format", "wait", "unlock"} {
		require.Less(t, peakOf(t, do, ours)-idle, 16, do)
	}
	key, err := os.ReadFile(memoryKey)
	require.NoError(t, err)
	command(t, key, "cryptsetup", append(costlyFormat, "--integrity-no-wipe", "--key-file=-", costly)...)
	for _, do := range []string{"wait", "unlock"} {
		require.Less(t, peakOf(t, do, costly)-idle, 64+16, do)
	}
	for _, path := range []string{ours, costly} {
		peakOfCryptsetup(t, "wait "+path, 2, keys.RandomDiskKey().Bytes(), "open", "--test-passphrase", path)
		peakOfCryptsetup(t, "unlock "+path, 0, key, "open", path, "memory")
		require.NoError(t, Close("memory"))
	}
	peakOfCryptsetup(t, "format "+ours, 0, key, append(costlyFormat, ours)...)
}

// costlyFormat has cryptsetup make a disk as the archived releases do.
var costlyFormat = []string{
	"luksFormat", "--batch-mode", "--type=luks2", "--cipher=aes-xts-plain64", "--key-size=512", "--integrity=hmac-sha256",
	"--sector-size=4096", "--pbkdf=argon2id", "--pbkdf-memory=65536", "--pbkdf-force-iterations=4", "--pbkdf-parallel=2",
}

var vmHWM = regexp.MustCompile(`VmHWM:\s+([0-9]+) kB`)

func peakOf(t *testing.T, do, path string) (mebibytes int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run", "^TestMemoryChild$")
	cmd.Env = append(os.Environ(), memoryOf+"="+do+" "+path)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	found := vmHWM.FindSubmatch(out)
	require.NotNil(t, found, "%s", out)
	kib, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	fmt.Printf("| %s %s | %d |\n", do, path, kib>>10)
	return kib >> 10
}

// peakOfCryptsetup looks again and again while cryptsetup runs: a peak only grows. A
// child's ru_maxrss would not do, it begins with the peak of its parent.
func peakOfCryptsetup(t *testing.T, do string, exit int, key []byte, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "cryptsetup", append(args, "--key-file=-")...)
	cmd.Stdin = bytes.NewReader(key)
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	peak := 0
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-time.After(time.Millisecond):
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
			if found := vmHWM.FindSubmatch(status); found != nil {
				peak, _ = strconv.Atoi(string(found[1]))
			}
		}
	}
	require.Equal(t, exit, cmd.ProcessState.ExitCode(), do)
	fmt.Printf("| cryptsetup %s | %d |\n", do, peak>>10)
}

func TestMemoryChild(t *testing.T) {
	do, path, ok := strings.Cut(os.Getenv(memoryOf), " ")
	if !ok {
		t.Skip("a child of TestMemoryOf")
	}
	if do != "nothing" {
		memoryChild(t, do, path)
	}
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	fmt.Printf("%s\n", vmHWM.Find(status))
}

func memoryChild(t *testing.T, do, path string) {
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	if do == "format" {
		key := keys.RandomDiskKey()
		require.NoError(t, os.WriteFile(memoryKey, key.Bytes(), 0o600))
		_, err = d.Format(t.Context(), key, FirstRegion, func(Progress) {})
		require.NoError(t, err)
		return
	}
	for range 3 {
		require.ErrorIs(t, d.Prove(keys.RandomDiskKey()), keys.ErrWrongKey)
	}
	if do == "wait" {
		return
	}
	raw, err := os.ReadFile(memoryKey)
	require.NoError(t, err)
	key, err := keys.NewDiskKey(raw)
	require.NoError(t, err)
	require.NoError(t, d.Prove(key))
	require.NoError(t, d.Unlock(t.Context(), "memory", key))
	require.NoError(t, Close("memory"))
}
