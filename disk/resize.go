package disk

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resizeFS is EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64).
const resizeFS = 0x40086610

// resize grows the file system of a mapping, mounted at dir, to a size in bytes.
func resize(mapping, dir string, size int64) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	blocks := uint64(size / blockSize)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), resizeFS, uintptr(unsafe.Pointer(&blocks)))
	switch errno {
	case 0:
		return nil
	case unix.EPERM:
		err = explainForbidden(mayResize(), recordedErrors(mapping))
	default:
		err = errno
	}
	return fmt.Errorf("growing the file system at %s to %d bytes: %w", dir, size, err)
}

// explainForbidden says why the kernel did not permit to grow a file system: in
// the order in which it looks.
func explainForbidden(mayResize, recordedErrors bool) error {
	switch {
	case !mayResize:
		return fmt.Errorf("%w: this process needs CAP_SYS_RESOURCE, as the unit has it", unix.EPERM)
	case recordedErrors:
		return fmt.Errorf("%w: the file system has recorded errors, see dmesg: unmount it, run e2fsck, then start disk-mapper-grow again", unix.EPERM)
	}
	return fmt.Errorf("%w: neither a missing CAP_SYS_RESOURCE nor errors that the file system has recorded, see dmesg", unix.EPERM)
}

// mayResize reports whether this process has CAP_SYS_RESOURCE, or cannot tell.
func mayResize() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData
	err := unix.Capget(&header, &has[0])
	return err != nil || has[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// recordedErrors reports whether the kernel or e2fsck has noted errors in the
// superblock.
func recordedErrors(mapping string) bool {
	raw, _, err := readExt4(mapping)
	return err == nil && hasErrors(raw)
}

func hasErrors(raw []byte) bool {
	return binary.LittleEndian.Uint16(raw[ext4State:])&ext4HasErrors != 0
}
