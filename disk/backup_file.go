package disk

import (
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
	if err := unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE); err != nil {
		return &os.PathError{Op: "create", Path: path, Err: err}
	}
	return dir.Sync()
}

// Current fails if the backup is not that of the header which the disk at path has
// now: with ErrOtherDisk, or with ErrNewerHeader if it is time for a new backup.
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
	}
	return nil
}
