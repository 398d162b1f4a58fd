package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteNew leaves the backup in a new file at path, mode 0600, on stable storage. A
// reader finds the whole file or none. It fails with fs.ErrExist if anything is at path.
func (b *Backup) WriteNew(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := os.CreateTemp(dir.Name(), ".disk-mapper-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // unless it has its name by then
	_, err = f.Write(b.Encode())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := name(f.Name(), path, unix.Renameat2); err != nil {
		return &os.PathError{Op: "create", Path: path, Err: err}
	}
	return dir.Sync()
}

// name gives a file its name, unless something has it. What cannot rename so, such as
// file systems of the network, can make a second name mostly.
func name(file, path string, rename func(int, string, int, string, uint) error) error {
	err := rename(unix.AT_FDCWD, file, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return unix.Link(file, path)
	}
	return err
}

// ErrDiffers is for a header or a keyslot that is another one.
var ErrDiffers = errors.New("the header or the keyslot on the disk is not that of the backup")

// Current fails if the backup is not that of the header which the disk at path has
// now: with ErrOtherDisk, with ErrNewerHeader if it is time for a new backup, or with
// ErrDiffers. Every byte of headers and keyslot is compared.
func (b *Backup) Current(ctx context.Context, path string) error {
	now, err := ReadHeader(ctx, path)
	switch {
	case err != nil:
		return err
	case now.ID() != b.ID():
		return fmt.Errorf("%w: %s has %s, the backup %s", ErrOtherDisk, path, now.ID(), b.ID())
	case b.Complete && now.Size != b.Size:
		return fmt.Errorf("%s has %d bytes now, and had %d: make a new backup", path, now.Size, b.Size)
	case now.SeqID() != b.SeqID():
		return fmt.Errorf("%w: seqid %d and %d: make a new backup", ErrNewerHeader, now.SeqID(), b.SeqID())
	case !bytes.Equal(now.region[:metadataSize], b.region[:metadataSize]):
		return fmt.Errorf("%w, under the same seqid %d: find out which of both the master secret opens (inspect -master-secret, header check -master-secret)", ErrDiffers, b.SeqID())
	}
	return nil
}
