package vmtest

import (
	"fmt"
	"io"
	"io/fs"
)

// Types of files in a cpio archive: the upper bits of Unix' st_mode.
const (
	cpioDir     = 0o040000
	cpioFile    = 0o100000
	cpioSymlink = 0o120000

	cpioTrailer = "TRAILER!!!"
)

// archive writes a cpio archive in the format the kernel takes as an initrd: "newc", with ASCII headers, everything padded
// to four bytes. Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
type archive struct {
	out   io.Writer
	inode uint32
}

// add writes one entry, owned by root. The name has no leading slash.
func (a *archive) add(name string, mode fs.FileMode, content []byte) error {
	a.inode++
	header := fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, cpioMode(mode), 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	if _, err := a.out.Write(pad(header)); err != nil {
		return err
	}
	_, err := a.out.Write(pad(content))
	return err
}

// close writes the entry that ends the archive.
func (a *archive) close() error { return a.add(cpioTrailer, 0, nil) }

func cpioMode(mode fs.FileMode) uint32 {
	permissions := uint32(mode.Perm())
	switch mode.Type() {
	case fs.ModeDir:
		return cpioDir | permissions
	case fs.ModeSymlink:
		return cpioSymlink | permissions
	default:
		return cpioFile | permissions
	}
}

func pad(content []byte) []byte {
	return append(content, make([]byte, -len(content)&3)...)
}
