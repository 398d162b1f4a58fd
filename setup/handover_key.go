package setup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"disk-mapper/internal/keys"

	"golang.org/x/sys/unix"
)

const keyFile = "run/cryptsetup-keys.d/state.key"

// SaveKey writes the passphrase of a new disk for the node's bootstrapper: raw
// bytes, mode 0400, in a directory of mode 0700. A reader finds the whole key or
// no file. It fails if the directory is not in memory or is somebody else's, and
// with fs.ErrExist if anything has the file's name; then no file is left.
func (h Handover) SaveKey(key keys.DiskKey) error {
	if err := saveKey(filepath.Join(h.Root, keyFile), key.Bytes()); err != nil {
		return fmt.Errorf("saving the state disk key: %w", err)
	}
	return nil
}

func saveKey(path string, key []byte) error {
	dir, err := keyDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return &os.PathError{Op: "create a file in", Path: dir.Name(), Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // until it has a name, the file is gone with this
	if _, err := f.Write(key); err != nil {
		return err
	}
	// Through /proc, because a name for a mere descriptor takes a capability that
	// the daemon lacks.
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), int(dir.Fd()), filepath.Base(path), unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.PathError{Op: "link", Path: path, Err: err}
	}
	return nil
}

// keyDir opens the directory, which it makes if need be. One that has been made
// with another mode is closed to others.
func keyDir(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err = ownAndInMemory(dir); err == nil {
		err = dir.Chmod(0o700)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

func ownAndInMemory(dir *os.File) error {
	var s unix.Stat_t
	var system unix.Statfs_t
	if err := errors.Join(unix.Fstat(int(dir.Fd()), &s), unix.Fstatfs(int(dir.Fd()), &system)); err != nil {
		return err
	}
	if s.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("%s belongs to user %d, want %d", dir.Name(), s.Uid, os.Geteuid())
	}
	if system.Type != unix.TMPFS_MAGIC && system.Type != unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is on file system type %#x, want tmpfs or ramfs", dir.Name(), system.Type)
	}
	return nil
}

// ReadKey is SaveKey's counterpart, for the node's bootstrapper. It fails if the
// file is anything but a regular file with exactly one key.
func (h Handover) ReadKey() (keys.DiskKey, error) {
	key, err := readKey(filepath.Join(h.Root, keyFile))
	if err != nil {
		return keys.DiskKey{}, fmt.Errorf("reading the state disk key: %w", err)
	}
	return key, nil
}

func readKey(path string) (keys.DiskKey, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return keys.DiskKey{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return keys.DiskKey{}, err
	}
	if !info.Mode().IsRegular() {
		return keys.DiskKey{}, fmt.Errorf("%s is %v, want a regular file", path, info.Mode())
	}
	if info.Size() != keys.Size {
		return keys.DiskKey{}, fmt.Errorf("%s has %d bytes, want %d", path, info.Size(), keys.Size)
	}
	var raw [keys.Size]byte
	defer clear(raw[:])
	if _, err := io.ReadFull(f, raw[:]); err != nil {
		return keys.DiskKey{}, err
	}
	return keys.NewDiskKey(raw[:])
}

// RemoveKey removes the key file. A file that is not there is fine.
func (h Handover) RemoveKey() error {
	err := os.Remove(filepath.Join(h.Root, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
