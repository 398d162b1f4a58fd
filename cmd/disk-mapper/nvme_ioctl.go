package main

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/nvme_ioctl.h and the NVMe base specification.
const (
	nvmeID        = 0x4e40     // NVME_IOCTL_ID: the number of a namespace
	nvmeAdmin     = 0xc0484e41 // NVME_IOCTL_ADMIN_CMD
	nvmeIdentify  = 0x06
	nvmeTimeoutMS = 2000
)

// nvmeCommand is struct nvme_admin_cmd.
type nvmeCommand struct {
	opcode, flags         uint8
	_                     uint16
	namespace             uint32
	_, _                  uint32
	_                     uint64
	address               uint64
	_, length             uint32
	cdw10                 uint32
	_, _, _, _, _         uint32
	timeoutMS, resultCode uint32
}

// identifyNVMe reads a structure of the namespace whose block device is at path.
func identifyNVMe(path string, structure uint32) (*identifyPage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page := new(identifyPage)
	var pin runtime.Pinner
	pin.Pin(page)
	defer pin.Unpin()
	command := nvmeCommand{
		opcode: nvmeIdentify, cdw10: structure, timeoutMS: nvmeTimeoutMS,
		address: uint64(uintptr(unsafe.Pointer(page))), length: uint32(len(page)),
	}
	if structure == ofNamespace {
		number, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nvmeID, 0)
		if errno != 0 {
			return nil, fmt.Errorf("asking for the namespace of %s: %w", path, errno)
		}
		command.namespace = uint32(number)
	}
	status, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nvmeAdmin, uintptr(unsafe.Pointer(&command)))
	if errno != 0 {
		return nil, fmt.Errorf("identifying %s: %w", path, errno)
	}
	if status != 0 {
		return nil, fmt.Errorf("identifying %s: NVMe status %#x", path, status)
	}
	return page, nil
}
