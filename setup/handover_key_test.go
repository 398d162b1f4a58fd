package setup

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"unsafe"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestKeyFile(t *testing.T) {
	h := Handover{Root: memoryRoot(t)}
	key := keys.RandomDiskKey()
	require.NoError(t, h.SaveKey(key))
	read, err := h.ReadKey()
	require.NoError(t, err)
	assert.Equal(t, key.Bytes(), read.Bytes())
	assert.ErrorIs(t, h.SaveKey(key), fs.ErrExist, "never over another key")
	require.NoError(t, h.RemoveKey())
	require.NoError(t, h.RemoveKey(), "twice is fine")
	_, err = h.ReadKey()
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// TestKeyIsSavedOnlyWhereItIsSafe prepares what SaveKey finds in its way. The
// directory "elsewhere" must stay empty.
func TestKeyIsSavedOnlyWhereItIsSafe(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(dir, elsewhere string) error
		want    string // in the error; empty for none
	}{
		"no directory":        {func(string, string) error { return nil }, ""},
		"an open directory":   {func(dir, _ string) error { return os.Mkdir(dir, 0o755) }, ""},
		"a closed directory":  {func(dir, _ string) error { return os.Mkdir(dir, 0o500) }, ""},
		"somebody's own":      {func(dir, _ string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 1, 1)) }, "belongs to user 1"},
		"a link to one":       {func(dir, elsewhere string) error { return os.Symlink(elsewhere, dir) }, "not a directory"},
		"a file for one":      {func(dir, _ string) error { return os.WriteFile(dir, nil, 0o600) }, "not a directory"},
		"a link for the file": {func(dir, elsewhere string) error { return linkKey(dir, elsewhere+"/state.key") }, "file exists"},
	} {
		t.Run(name, func(t *testing.T) {
			h := Handover{Root: memoryRoot(t)}
			dir, elsewhere := filepath.Dir(filepath.Join(h.Root, keyFile)), filepath.Join(h.Root, "elsewhere")
			require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o755))
			require.NoError(t, os.Mkdir(elsewhere, 0o700))
			err := tc.prepare(dir, elsewhere)
			if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
				t.Skip("only root gives a directory away")
			}
			require.NoError(t, err)
			err = h.SaveKey(keys.RandomDiskKey())
			if tc.want != "" {
				assert.ErrorContains(t, err, tc.want)
				left, err := os.ReadDir(elsewhere)
				require.NoError(t, err)
				assert.Empty(t, left)
				return
			}
			require.NoError(t, err)
			info, err := os.Stat(dir)
			require.NoError(t, err)
			assert.Equal(t, fs.ModeDir|0o700, info.Mode())
		})
	}
}

func linkKey(dir, target string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.Symlink(target, filepath.Join(dir, filepath.Base(keyFile)))
}

func TestKeyFileRefusesStorage(t *testing.T) {
	var system unix.Statfs_t
	require.NoError(t, unix.Statfs(t.TempDir(), &system))
	if system.Type == unix.TMPFS_MAGIC || system.Type == unix.RAMFS_MAGIC {
		t.Skip("the directory for temporary files is in memory")
	}
	h := Handover{Root: t.TempDir()}
	assert.ErrorContains(t, h.SaveKey(keys.RandomDiskKey()), "want tmpfs")
	assert.NoFileExists(t, filepath.Join(h.Root, keyFile))
}

// TestKeyFileIsWhole: when the file gets its name, all of it is there.
func TestKeyFileIsWhole(t *testing.T) {
	h := Handover{Root: memoryRoot(t)}
	dir := filepath.Dir(filepath.Join(h.Root, keyFile))
	require.NoError(t, os.MkdirAll(dir, 0o700))
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(watch)
	_, err = unix.InotifyAddWatch(watch, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO)
	require.NoError(t, err)

	require.NoError(t, h.SaveKey(keys.RandomDiskKey()))
	var events [4096]byte
	n, err := unix.Read(watch, events[:])
	require.NoError(t, err)
	var named int
	for raw := events[:n]; len(raw) > 0; {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&raw[0]))
		end := unix.SizeofInotifyEvent + int(event.Len)
		if string(bytes.TrimRight(raw[unix.SizeofInotifyEvent:end], "\x00")) == filepath.Base(keyFile) {
			assert.EqualValues(t, unix.IN_CREATE, event.Mask, "written after it had a name")
			named++
		}
		raw = raw[end:]
	}
	assert.Equal(t, 1, named)
}

// TestHalfAKeyIsNoFile has the write break off after 16 bytes.
func TestHalfAKeyIsNoFile(t *testing.T) {
	h := Handover{Root: memoryRoot(t)}
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 16, Max: before.Max}))
	err := h.SaveKey(keys.RandomDiskKey())
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before))
	assert.ErrorIs(t, err, unix.EFBIG)
	left, err := os.ReadDir(filepath.Dir(filepath.Join(h.Root, keyFile)))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestReadKeyRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(path string) error
		want    string
	}{
		"an empty file": {func(path string) error { return os.WriteFile(path, nil, 0o400) }, "has 0 bytes"},
		"a short file":  {func(path string) error { return os.WriteFile(path, make([]byte, 31), 0o400) }, "has 31 bytes"},
		"a long file":   {func(path string) error { return os.WriteFile(path, make([]byte, 5000), 0o400) }, "has 5000 bytes"},
		"a directory":   {func(path string) error { return os.Mkdir(path, 0o700) }, "want a regular file"},
		"a pipe":        {func(path string) error { return unix.Mkfifo(path, 0o600) }, "want a regular file"},
		"a link": {func(path string) error {
			if err := os.WriteFile(path+".real", make([]byte, 32), 0o400); err != nil {
				return err
			}
			return os.Symlink(path+".real", path)
		}, "too many levels of symbolic links"},
	} {
		t.Run(name, func(t *testing.T) {
			h := Handover{Root: memoryRoot(t)}
			path := filepath.Join(h.Root, keyFile)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, tc.prepare(path))
			_, err := h.ReadKey()
			assert.ErrorContains(t, err, tc.want)
		})
	}
}
