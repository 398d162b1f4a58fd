package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"disk-mapper/internal/printable"
)

// maxFile is how many bytes a file with a master secret may have.
const maxFile = 64 << 10

// ReadMasterSecret reads the file of ParseMasterSecret at path.
func ReadMasterSecret(path string) (MasterSecret, error) {
	raw, err := readShort(path)
	if err != nil {
		return MasterSecret{}, fmt.Errorf("master secret: %w", printable.Error(err))
	}
	defer clear(raw)
	master, err := ParseMasterSecret(raw)
	if err != nil {
		return MasterSecret{}, fmt.Errorf("master secret %s: %w", printable.Text(path), err)
	}
	return master, nil
}

// readShort refuses what is longer than any master secret: a device, say.
func readShort(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(raw) > maxFile {
		clear(raw)
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return raw, err
}

// ErrExposed reports a file that others than its owner can get at, or change.
var ErrExposed = errors.New("others than its owner can get at it")

// exposed are the permissions that a file with a secret should not give: any to
// everybody, and to its group that of changing it. A group may read: Kubernetes
// gives a Secret to an unprivileged process in no other way.
const exposed = 0o027

// changeable are those that a file should not give which says whom to trust.
const changeable = 0o022

// CheckPrivate fails with ErrExposed if the permissions of the file at path are
// wider than a secret should have.
func CheckPrivate(path string) error {
	return checkMode(path, exposed, "chmod 0600 it, and consider whether it has been read")
}

// CheckUnchangeable fails with ErrExposed if others than its owner can change the
// file at path, which may be read by everybody.
func CheckUnchangeable(path string) error {
	return checkMode(path, changeable, "chmod go-w it, and consider whether it has been changed")
}

func checkMode(path string, unwanted fs.FileMode, advice string) error {
	info, err := os.Stat(path)
	if err != nil {
		return printable.Error(err)
	}
	if mode := info.Mode().Perm(); mode&unwanted != 0 {
		return fmt.Errorf("%s has mode %04o: %w: %s", printable.Text(path), mode, ErrExposed, advice)
	}
	return nil
}

// WriteNew leaves content in a new file, mode 0600, on stable storage, or leaves
// no file. It fails if path exists.
func WriteNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close(), syncDir(filepath.Dir(path))); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// syncDir makes names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
