// Package vmtest boots the project's image in QEMU, with a software TPM and UEFI firmware, and reads its serial console.
//
// It is for tests and the demo on one machine: whoever can call it can already do everything as the calling user, so it
// defends against nothing. It needs no KVM and talks to loopback only. The guest reaches servers on the
// host's 127.0.0.1 at HostAddress, and gets GuestAddress by DHCP.
package vmtest

import (
	"io"
	"io/fs"
)

const (
	// HostAddress is where the guest finds the host's loopback address; the qemu provider's metadata server is expected here.
	HostAddress = "10.42.0.1"
	// GuestAddress is the address the guest is given by DHCP.
	GuestAddress = "10.42.0.15"
	// MetadataAddress is where the guest finds it if Config.LinkLocal is set.
	MetadataAddress = "169.254.169.254"
	// RecoveryPort is the guest's port that Config.RecoveryPort forwards to.
	RecoveryPort = 9999
)

// Image is a kernel and the base initrd, as `make image` leaves them.
type Image struct {
	Kernel string
	Initrd string
}

// Firmware is what starts the kernel.
type Firmware int

const (
	// UEFI is OVMF: the TPM event log is valid and the node can be attested.
	UEFI Firmware = iota
	// BIOS is SeaBIOS: up earlier, for tests that attest nothing. The TPM event log it leaves is refused by verifiers.
	BIOS
)

// Bus is how disks are attached.
type Bus int

const (
	// Virtio disks are /dev/vda, /dev/vdb, ...
	Virtio Bus = iota
	// SCSI disks have the LUNs 0, 1, ... of one controller, and say what Google's persistent disks say; the serial number is the
	// name of the file.
	SCSI
	// NVMe disks have a controller each, and the name of the file as serial number.
	NVMe
)

// TPM says which TPM the guest gets. The zero value is none.
type TPM struct {
	// StateDir keeps the TPM's state from boot to boot. An empty or absent directory is provisioned on first use.
	StateDir string
	// Banks are the PCR banks a new TPM gets, such as "sha256"; none means DefaultBanks. A provisioned TPM keeps its own.
	Banks []string
}

// File is one file of the overlay, laid over the base image.
type File struct {
	// Path is absolute, in the guest. Parent directories are made, 0755.
	Path string
	// Host names the file on the host to copy; if empty, Content is the file.
	Host    string
	Content []byte
	// Mode is the file's mode; 0 means 0644 for Content, and the host file's permissions for Host. With fs.ModeSymlink, Content is the target.
	Mode fs.FileMode
}

// Config describes one boot. Image is required, all else has a harmless zero value.
type Config struct {
	Image Image
	// Overlay is appended to the initrd: binaries and units under test. A later file replaces an earlier one.
	Overlay []File
	// Disks are raw image files, or addresses of servers as QEMU takes them, nbd://127.0.0.1:PORT, attached as /dev/vda, /dev/vdb, ...
	// in this order, or as Bus says. Writes survive Kill.
	Disks    []string
	Bus      Bus
	TPM      TPM
	Firmware Firmware
	// Cmdline is added to the kernel command line, after what is there: "constel.csp=qemu".
	Cmdline []string
	// LinkLocal puts the host's loopback address at MetadataAddress instead of HostAddress, where clouds have their metadata
	// service, and the guest beside it.
	LinkLocal bool
	// RecoveryPort is a port on the host's 127.0.0.1 forwarded to the guest's port 9999; 0 forwards none.
	RecoveryPort int
	// Console, if set, is given the console as it comes, line by line.
	Console io.Writer
}
