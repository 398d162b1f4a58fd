package vmtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// ErrGuestPath says that a path cannot be laid over the image.
var ErrGuestPath = errors.New("not a clean absolute path in the guest, or one below a link to /usr")

// Links in the image. A directory of that name in an archive would replace the link, and with it the system.
var usrLinks = []string{"bin", "sbin", "lib", "lib64"}

// writeInitrd writes the base initrd followed by the overlay: the kernel unpacks one archive after the other.
func writeInitrd(path, base string, overlay []File) error {
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("making the initrd: %w", err)
	}
	err = errors.Join(appendInitrd(out, base, overlay), out.Close())
	if err != nil {
		return fmt.Errorf("writing the initrd: %w", err)
	}
	return nil
}

func appendInitrd(out io.Writer, base string, overlay []File) error {
	in, err := os.Open(base)
	if err != nil {
		return err
	}
	defer in.Close()
	buffer := bufio.NewWriterSize(out, 1<<20)
	size, err := io.Copy(buffer, in)
	if err != nil {
		return err
	}
	// The kernel looks for the next archive at a multiple of four.
	if _, err := buffer.Write(make([]byte, -size&3)); err != nil {
		return err
	}
	if err := writeOverlay(buffer, overlay); err != nil {
		return err
	}
	return buffer.Flush()
}

func writeOverlay(out io.Writer, overlay []File) error {
	archive := &archive{out: out}
	made := map[string]bool{".": true}
	for _, file := range overlay {
		if err := addFile(archive, made, file); err != nil {
			return fmt.Errorf("laying %s over the image: %w", file.Path, err)
		}
	}
	return archive.close()
}

func addFile(archive *archive, made map[string]bool, file File) error {
	name, err := guestName(file.Path)
	if err != nil {
		return err
	}
	content, mode, err := file.read()
	if err != nil {
		return err
	}
	if err := addParents(archive, made, name); err != nil {
		return err
	}
	return archive.add(name, mode, content)
}

func guestName(guestPath string) (string, error) {
	name := strings.TrimPrefix(guestPath, "/")
	top, _, nested := strings.Cut(name, "/")
	if !path.IsAbs(guestPath) || path.Clean(guestPath) != guestPath || name == "" || nested && slices.Contains(usrLinks, top) {
		return "", ErrGuestPath
	}
	return name, nil
}

func addParents(archive *archive, made map[string]bool, name string) error {
	dir := path.Dir(name)
	if made[dir] {
		return nil
	}
	if err := addParents(archive, made, dir); err != nil {
		return err
	}
	made[dir] = true
	return archive.add(dir, fs.ModeDir|0o755, nil)
}

// read returns the file's content, and its mode with the defaults that File names.
func (f File) read() ([]byte, fs.FileMode, error) {
	if f.Host == "" {
		return f.Content, orElse(f.Mode, 0o644), nil
	}
	content, err := os.ReadFile(f.Host)
	if err != nil {
		return nil, 0, err
	}
	info, err := os.Stat(f.Host)
	if err != nil {
		return nil, 0, err
	}
	return content, orElse(f.Mode, info.Mode().Perm()), nil
}

func orElse(mode, fallback fs.FileMode) fs.FileMode {
	if mode == 0 {
		return fallback
	}
	return mode
}
