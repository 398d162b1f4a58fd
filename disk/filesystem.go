package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// label and the lack of reserved blocks are what systemd-makefs would choose.
const label = "state"

// mke2fs is looked up before a disk is changed.
func mke2fs() (string, error) {
	path, err := exec.LookPath("mke2fs")
	if err != nil {
		return "", fmt.Errorf("mke2fs of e2fsprogs 1.47 or later is needed in this image: %w", err)
	}
	return path, nil
}

// mkfs makes the ext4 file system of a new disk, of size bytes and on zeros.
func (l layout) mkfs(ctx context.Context, mke2fs, mapping string, size int64) error {
	out, err := exec.CommandContext(ctx, mke2fs, l.mkfsArguments(mapping, size)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("making the file system: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// mkfsArguments name all that mke2fs would derive from the size, because that is
// not the final one.
func (l layout) mkfsArguments(mapping string, size int64) []string {
	extended := []string{
		"nodiscard",
		"assume_storage_prezeroed=1", // else it zeroes tables and journal again
		"resize=" + strconv.FormatInt(l.reserve()/blockSize, 10),
	}
	return []string{
		"-q", "-F", "-t", "ext4", "-b", strconv.Itoa(blockSize), "-I", "256", "-i", strconv.Itoa(inodeRatio), "-m", "0", "-L", label,
		"-J", "size=" + strconv.FormatInt(l.journal()>>20, 10), "-E", strings.Join(extended, ","),
		mapping, strconv.FormatInt(size/1024, 10) + "k",
	}
}

// Fields of ext4's superblock, which begins at byte 1024, little-endian. Source:
// the kernel's Documentation/filesystems/ext4/super.rst.
const (
	ext4Superblock     = 1024
	ext4BlocksLow      = 0x4
	ext4LogBlockSize   = 0x18
	ext4BlocksPerGroup = 0x20
	ext4Magic          = 0x38
	ext4Incompat       = 0x60
	ext4BlocksHigh     = 0x150

	ext4Is64Bit = 0x80
)

var errNoFileSystem = errors.New("no ext4 file system")

// measure reads how large a mapped device is, and the file system on it, in bytes;
// also while it is mounted: the kernel keeps the superblock in the device's page
// cache.
func measure(mapping string) (l layout, fileSystem int64, err error) {
	f, err := os.Open(mapping)
	if err != nil {
		return layout{}, 0, err
	}
	defer f.Close()
	raw := make([]byte, 1024)
	if _, err := f.ReadAt(raw, ext4Superblock); err != nil {
		return layout{}, 0, fmt.Errorf("reading the file system's superblock: %w", explain(err))
	}
	if l.size, err = f.Seek(0, io.SeekEnd); err != nil {
		return layout{}, 0, err
	}
	if fileSystem, err = parseExt4Size(raw); err != nil {
		return layout{}, 0, fmt.Errorf("%s: %w", mapping, err)
	}
	if fileSystem > l.size {
		return layout{}, 0, fmt.Errorf("%s has %d bytes, its file system %d", mapping, l.size, fileSystem)
	}
	return l, fileSystem, nil
}

func parseExt4Size(raw []byte) (int64, error) {
	field := func(at int) int64 { return int64(binary.LittleEndian.Uint32(raw[at:])) }
	if magic := binary.LittleEndian.Uint16(raw[ext4Magic:]); magic != 0xef53 {
		return 0, fmt.Errorf("%w: magic %#x, want 0xef53", errNoFileSystem, magic)
	}
	if log, group := field(ext4LogBlockSize), field(ext4BlocksPerGroup); log != 2 || group*blockSize != blockGroup {
		return 0, fmt.Errorf("ext4 with log block size %d and %d blocks in a group, want 2 and %d", log, group, blockGroup/blockSize)
	}
	blocks := field(ext4BlocksLow)
	if field(ext4Incompat)&ext4Is64Bit != 0 {
		blocks |= field(ext4BlocksHigh) << 32
	}
	if blocks <= 0 || blocks > 1<<50 {
		return 0, fmt.Errorf("ext4 of %d blocks, want less than 2^50", uint64(blocks))
	}
	return blocks * blockSize, nil
}

// resizeFS is EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64).
const resizeFS = 0x40086610

// resize grows the file system mounted at dir to a size in bytes.
func resize(dir string, size int64) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	blocks := uint64(size / blockSize)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), resizeFS, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("growing the file system at %s to %d bytes: %w", dir, size, errno)
	}
	return nil
}
