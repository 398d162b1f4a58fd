package disk

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blkZeroOut is BLKZEROOUT, _IO(0x12, 127), of an offset and a size in bytes.
const blkZeroOut = 0x127f

// blkGetDiskSeq is BLKGETDISKSEQ, _IOR(0x12, 128, __u64).
const blkGetDiskSeq = 0x80081280

// makeZeros has the kernel make a part of a device zeros.
func makeZeros(f *os.File, s span) error {
	part := [2]uint64{uint64(s.from), uint64(s.size())}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), blkZeroOut, uintptr(unsafe.Pointer(&part))); errno != 0 {
		return errno
	}
	return nil
}

// diskSeq is 0 if the kernel has none.
func diskSeq(f *os.File) uint64 {
	var seq uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), blkGetDiskSeq, uintptr(unsafe.Pointer(&seq))); errno != 0 {
		return 0
	}
	return seq
}
