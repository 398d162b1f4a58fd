package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// since are what may happen to a disk between the verdict on it and the first write.
var since = map[string]func(t *testing.T, path string){
	"another disk at the same path": func(t *testing.T, path string) {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path+"-2", content, 0o600))
		require.NoError(t, os.Rename(path+"-2", path))
	},
	"a byte of the first sector": func(t *testing.T, path string) { putByte(t, path, binarySize-1) },
	"another size":               func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, minSize+512)) },
}

// TestJudgedIsWhatIsWritten: the verdict counts for one disk, and as long as it begins
// as it did. Nothing else is written to.
func TestJudgedIsWhatIsWritten(t *testing.T) {
	h, area, key := preparedDisk(t)
	prepared, noise := image(t, h, area), bytes.Repeat([]byte("noise, "), minSize/7+1)[:minSize]
	begun := make([]byte, metadataSize)
	copy(begun, interruptedMark())
	format := func(ctx context.Context, d *Device) error {
		_, err := d.Format(ctx, keys.RandomDiskKey(), FirstRegion, func(Progress) {})
		return err
	}
	for name, tc := range map[string]struct {
		content []byte
		write   func(context.Context, *Device) error
	}{
		"format of a blank disk":            {nil, format},
		"format of one that was begun":      {begun, format},
		"format of one that was not joined": {prepared, format},
		"format of noise":                   {noise, format},
		"enrolment":                         {prepared, func(_ context.Context, d *Device) error { return d.Enroll(key, keys.RandomDiskKey(), salt(t)) }},
	} {
		for change, happens := range since {
			t.Run(name+", "+change, func(t *testing.T) {
				path := diskFile(t, tc.content)
				d, err := OpenNonzero(t.Context(), path)
				require.NoError(t, err)
				happens(t, path)
				requireUntouched(t, path, func() error { return tc.write(t.Context(), d) })
			})
		}
	}
	for name, content := range map[string][]byte{"wipe of a joined disk": joinedDisk(t).seal(), "wipe of a blank disk": nil, "wipe of noise": noise} {
		for change, happens := range since {
			t.Run(name+", "+change, func(t *testing.T) {
				path := diskFile(t, content)
				report, err := Inspect(t.Context(), path)
				require.NoError(t, err)
				happens(t, path)
				requireUntouched(t, path, func() error { return report.Clear(t.Context(), func(Progress) {}) })
			})
		}
	}
}

// TestLibblkidLooksAtWhatWasJudged, and not at another disk.
func TestLibblkidLooksAtWhatWasJudged(t *testing.T) {
	for change, happens := range since {
		t.Run(change, func(t *testing.T) {
			path := diskFile(t, bytes.Repeat([]byte("noise, "), minSize/7+1)[:minSize])
			report, err := Inspect(t.Context(), path)
			require.NoError(t, err)
			happens(t, path)
			_, err = report.judged.recognise()
			require.ErrorIs(t, err, ErrChanged)
		})
	}
}

// TestJudgedAndGone: a disk that is not there any more is not one that has changed.
func TestJudgedAndGone(t *testing.T) {
	path := diskFile(t, nil)
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	_, err = d.Format(t.Context(), keys.RandomDiskKey(), FirstRegion, func(Progress) {})
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.NoFileExists(t, path)
}

func TestFailedChangeIsAnError(t *testing.T) {
	d, err := Open(t.Context(), diskFile(t, nil))
	require.NoError(t, err)
	require.ErrorIs(t, d.change(0, func(storage) error { return errBroken }), errBroken)
}

// TestJudgedAndUnreadable: where the first sector cannot be read again, it is not taken
// for zeros.
func TestJudgedAndUnreadable(t *testing.T) {
	path := diskFile(t, nil)
	loop := attachLoop(t, path)
	d, err := Open(t.Context(), loop)
	require.NoError(t, err)
	require.Equal(t, Blank, d.State())
	require.NoError(t, os.Truncate(path, 0)) // what the file has lost, the device cannot read
	_, err = d.Format(t.Context(), keys.RandomDiskKey(), FirstRegion, func(Progress) {})
	require.ErrorIs(t, err, unix.EIO)
	require.ErrorContains(t, err, "reading "+loop+" again")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Zero(t, info.Size(), "written to")
}

func requireUntouched(t *testing.T, path string, write func() error) {
	t.Helper()
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.ErrorIs(t, write(), ErrChanged)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(before, after), "written to")
}

// TestIdentityOfABlockDevice: by diskseq, which tells apart two disks that had the same
// name and number one after the other, and by its number, which tells apart partitions
// of one disk. Its name does not count.
func TestIdentityOfABlockDevice(t *testing.T) {
	first, second := diskFile(t, nil), diskFile(t, nil)
	loop := attachLoop(t, first)
	d, err := Open(t.Context(), loop)
	require.NoError(t, err)
	var s unix.Stat_t
	require.NoError(t, unix.Stat(loop, &s))
	renamed := d.identity
	renamed.path = filepath.Join(t.TempDir(), "renamed")
	require.NoError(t, unix.Mknod(renamed.path, unix.S_IFBLK|0o600, int(s.Rdev)))
	f, err := renamed.open(os.O_RDONLY)
	require.NoError(t, err, "the same disk by another name")
	require.NoError(t, f.Close())

	run(t, "losetup", "--detach", loop)
	run(t, "losetup", loop, second)
	requireUntouched(t, second, func() error {
		_, err := d.Format(t.Context(), keys.RandomDiskKey(), FirstRegion, func(Progress) {})
		return err
	})

	run(t, "sh", "-c", "printf 'label: dos\n,8M\n,8M\n' | sfdisk -q "+loop)
	run(t, "partx", "--add", loop)
	var parts [2]node
	for i := range parts {
		f, err := os.Open(fmt.Sprintf("%sp%d", loop, i+1))
		require.NoError(t, err)
		parts[i], err = nodeOf(f)
		require.NoError(t, errors.Join(err, f.Close()))
	}
	assert.Equal(t, parts[0].size, parts[1].size)
	assert.NotEqual(t, parts[0], parts[1])
	run(t, "partx", "--delete", loop)
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
