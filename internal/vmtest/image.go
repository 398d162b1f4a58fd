package vmtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FindImage returns the image that `make image` built for the module around the working directory.
func FindImage() (Image, error) {
	root, err := moduleRoot()
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(root, "build", "image")
	image := Image{Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd.zst")}
	for _, file := range []string{image.Kernel, image.Initrd} {
		if _, err := os.Stat(file); err != nil {
			return Image{}, fmt.Errorf("no image yet, run `make image`: %w", err)
		}
	}
	return image, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("finding the module: no go.mod in the working directory or above")
		}
	}
}

// NewDisk makes a blank disk of size bytes, a sparse raw file. It fails if path exists.
func NewDisk(path string, size int64) error {
	disk, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("making a disk: %w", err)
	}
	if err := errors.Join(disk.Truncate(size), disk.Close()); err != nil {
		return fmt.Errorf("sizing the disk %s: %w", path, err)
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
