//go:build vm

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inGuest is set where the tests named TestGuest run: in a VM, as root, with two
// blank disks and two of serveLies.
const inGuest = "DISK_TEST_IN_GUEST"

// TestDeviceMapper runs this test binary in a VM.
func TestDeviceMapper(t *testing.T) {
	if os.Getenv(inGuest) != "" {
		t.Skip("this is the guest")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	image, err := vmtest.FindImage()
	require.NoError(t, err)
	result := runSelf(ctx, t, vmtest.Config{
		Disks: append(blankDisks(t, 64<<20, 64<<20), serveLies(ctx, t)...), Overlay: []vmtest.File{nullCipher(t, image)},
	}, inGuest+"=1 ./disk.test -test.v -test.run '^TestGuest'")
	t.Log(result.Output)
	assert.Zero(t, result.ExitCode)
	assert.Contains(t, result.Output, "--- PASS: TestGuest")
}

// runSelf boots a VM in which this test binary is ./disk.test, and runs a script there.
func runSelf(ctx context.Context, t *testing.T, config vmtest.Config, script string) vmtest.Result {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	config.Image, err = vmtest.FindImage()
	require.NoError(t, err)
	config.Firmware = vmtest.BIOS
	config.Overlay = append(config.Overlay, vmtest.File{Path: "/vmtest/disk.test", Host: self, Mode: 0o755})
	result, err := vmtest.Run(ctx, config, script)
	require.NoError(t, err)
	return result
}

func blankDisks(t *testing.T, sizes ...int64) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i, size := range sizes {
		path := filepath.Join(dir, fmt.Sprint("disk", i))
		require.NoError(t, vmtest.NewDisk(path, size))
		paths = append(paths, path)
	}
	return paths
}

func guestOnly(t *testing.T) {
	t.Helper()
	if os.Getenv(inGuest) == "" {
		t.Skip("runs in a VM, through TestDeviceMapper")
	}
}

func headerOf(t *testing.T, path string) []byte {
	t.Helper()
	return startOn(t, path)[:metadataSize]
}

func startOn(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	start := make([]byte, headSize)
	_, err = f.ReadAt(start, 0)
	require.NoError(t, err)
	return start
}

func command(t *testing.T, stdin []byte, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}

// TestGuestLife is the life of one disk: blank, prepared, joined, unlocked.
func TestGuestLife(t *testing.T) {
	guestOnly(t)
	const path, mapping = "/dev/vda", "life"
	overwrittenWhileWiped(t, path)
	blank, err := Open(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, Blank, blank.State())

	first, final, salt := keys.RandomDiskKey(), keys.RandomDiskKey(), salt(t)
	var last Progress
	prepared, err := blank.Format(t.Context(), first, FirstRegion, func(p Progress) {
		assert.Greater(t, p.Done, last.Done)
		last = p
	})
	require.NoError(t, err)
	assert.Equal(t, last.Total, last.Done, "the wipe was complete")
	require.Equal(t, Prepared, prepared.State())

	require.NoError(t, prepared.Unlock(t.Context(), mapping, first))
	table := command(t, nil, "dmsetup", "table", mapping)
	for _, want := range []string{"capi:authenc(hmac(sha256),xts(aes))-plain64", "integrity:32:aead", "sector_size:4096", "no_read_workqueue", "no_write_workqueue"} {
		assert.Contains(t, table, want)
	}
	mapped, err := os.Open("/dev/mapper/" + mapping)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, mapped)
	require.NoError(t, err, "every sector has its tag")
	require.NoError(t, mapped.Close())
	assert.Equal(t, last.Total, n)

	mount := t.TempDir()
	require.NoError(t, unix.Mount("/dev/mapper/"+mapping, mount, "ext4", 0, ""))
	require.NoError(t, WriteNodeState(mount, RoleControlPlane, salt))
	require.ErrorIs(t, WriteNodeState(mount, RoleWorker, salt), os.ErrExist)
	require.NoError(t, prepared.Enroll(first, final, salt))
	require.NoError(t, unix.Unmount(mount, 0))
	require.NoError(t, Close(mapping))

	joined, err := Open(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, Joined, joined.State())
	require.ErrorIs(t, joined.Prove(first), keys.ErrWrongKey)
	kept, err := ReadHeader(t.Context(), path)
	require.NoError(t, err)
	before := headerOf(t, path)
	require.NoError(t, joined.Prove(final))
	require.ErrorIs(t, joined.Unlock(t.Context(), mapping, first), keys.ErrWrongKey)
	require.NoError(t, onStorage(path, markInterrupted)) // whatever the disk shows later does not matter
	require.NoError(t, joined.Unlock(t.Context(), mapping, final))
	_, err = kept.Restore(t.Context(), path, Over{ForeignData: true})
	require.ErrorIs(t, err, unix.EBUSY, "the disk is mapped")
	require.NoError(t, onStorage(path, func(s storage) error { return writeSynced(s, before[:binarySize], 0) }))
	read, err := ReadSalt("/dev/mapper/"+mapping, filepath.Join(t.TempDir(), "mount"))
	require.NoError(t, err)
	assert.Equal(t, salt.Bytes(), read.Bytes())
	require.NoError(t, Close(mapping))
	assert.True(t, bytes.Equal(before, headerOf(t, path)), "an unlock writes nothing to the header")
	_, err = os.Stat("/dev/mapper/" + mapping)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestGuestOldDisk opens what cryptsetup makes with the parameters of old
// clusters, with its default, costly KDF, before and after a bootstrapper of
// such a cluster has changed the key and set the token.
func TestGuestOldDisk(t *testing.T) {
	guestOnly(t)
	const path, mapping = "/dev/vdb", "old"
	first, final := keys.RandomDiskKey(), keys.RandomDiskKey()
	command(t, first.Bytes(), "cryptsetup", "luksFormat", "--batch-mode", "--type=luks2", "--cipher=aes-xts-plain64", "--key-size=512",
		"--integrity=hmac-sha256", "--sector-size=4096", "--pbkdf=argon2id", "--pbkdf-memory=65536", "--pbkdf-parallel=4",
		"--iter-time=200", "--key-file=-", path)
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, Joined, d.State(), "no token: a disk of a cluster before v2.10")
	assert.NoError(t, d.Prove(first))
	assert.ErrorIs(t, d.Prove(final), keys.ErrWrongKey)

	require.NoError(t, os.WriteFile("/run/final", final.Bytes(), 0o600))
	command(t, first.Bytes(), "cryptsetup", "luksChangeKey", "--batch-mode", "--key-file=-", "--key-slot=0", "--pbkdf-force-iterations=4", "--pbkdf-memory=65536", path, "/run/final")
	command(t, []byte(`{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":false}`), "cryptsetup", "token", "import", "--token-id=0", path)
	d, err = Open(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, Prepared, d.State())
	command(t, nil, "cryptsetup", "token", "remove", "--token-id=0", path)
	command(t, []byte(`{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":true}`), "cryptsetup", "token", "import", "--token-id=0", path)
	d, err = Open(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, Joined, d.State())
	from, _ := d.header.metadata.keyslotArea()
	assert.NotEqual(t, headersSize, from, "a changed key lies in another area")

	before := headerOf(t, path)
	require.NoError(t, d.Prove(final))
	require.NoError(t, d.Unlock(t.Context(), mapping, final))
	_, err = ReadSalt("/dev/mapper/"+mapping, filepath.Join(t.TempDir(), "mount"))
	assert.ErrorContains(t, err, "as ext4")
	require.NoError(t, Close(mapping))
	assert.True(t, bytes.Equal(before, headerOf(t, path)))
}

// overwrittenWhileWiped: only a disk that still has the mark gets a header. It leaves a
// blank disk.
func overwrittenWhileWiped(t *testing.T, path string) {
	t.Helper()
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	_, err = d.Format(t.Context(), keys.RandomDiskKey(), FirstRegion, func(Progress) {
		assert.NoError(t, onStorage(path, func(s storage) error { return writeSynced(s, make([]byte, binarySize), 0) }))
	})
	require.ErrorIs(t, err, ErrChanged)
	report, err := Inspect(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, report.Clear(t.Context(), func(Progress) {}))
}

// onStorage changes a disk whatever is on it.
func onStorage(path string, change func(storage) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(change(f), f.Close())
}
