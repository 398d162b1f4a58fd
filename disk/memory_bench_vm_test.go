//go:build vm

package disk

import (
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
// thing with a disk; make bench asks for it. The daemon has some 20 MiB of program
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
	command(t, key, "cryptsetup", "luksFormat", "--batch-mode", "--type=luks2", "--cipher=aes-xts-plain64", "--key-size=512", "--integrity=hmac-sha256",
		"--integrity-no-wipe", "--sector-size=4096", "--pbkdf=argon2id", "--pbkdf-memory=65536", "--pbkdf-force-iterations=4", "--pbkdf-parallel=2", "--key-file=-", costly)
	for _, do := range []string{"wait", "unlock"} {
		require.Less(t, peakOf(t, do, costly)-idle, 64+16, do)
	}
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
