package disk

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blkZeroOut is BLKZEROOUT, _IO(0x12, 127): a part of a device, as offset and size
// in bytes, is zeros when it returns.
const blkZeroOut = 0x127f

func makeZeros(f *os.File, part *[2]uint64) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), blkZeroOut, uintptr(unsafe.Pointer(part))); errno != 0 {
		return errno
	}
	return nil
}
