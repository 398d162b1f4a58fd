package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Fields of ext4's superblock, which begins at byte 1024, little-endian. Source:
// the kernel's Documentation/filesystems/ext4/super.rst.
const (
	ext4Superblock     = 1024
	ext4BlocksLow      = 0x4
	ext4LogBlockSize   = 0x18
	ext4BlocksPerGroup = 0x20
	ext4Magic          = 0x38
	ext4State          = 0x3a
	ext4Incompat       = 0x60
	ext4BlocksHigh     = 0x150

	ext4MagicValue    = 0xef53
	ext4NeedsRecovery = 4
	ext4Is64Bit       = 0x80
	ext4HasErrors     = 2
)

var errNoFileSystem = errors.New("no ext4 file system")

// measure reads how large a mapped device is, and the file system on it, in bytes;
// also while it is mounted: the kernel keeps the superblock in the device's page
// cache.
func measure(mapping string) (l layout, fileSystem int64, err error) {
	raw, size, err := readExt4(mapping)
	if err != nil {
		return layout{}, 0, err
	}
	if fileSystem, err = parseExt4Size(raw); err != nil {
		return layout{}, 0, fmt.Errorf("%s: %w", mapping, err)
	}
	if fileSystem > size {
		return layout{}, 0, fmt.Errorf("%s has %d bytes, its file system %d", mapping, size, fileSystem)
	}
	return layout{size}, fileSystem, nil
}

// readExt4 reads a superblock, and how large its device is.
func readExt4(mapping string) (raw []byte, size int64, err error) {
	f, err := os.Open(mapping)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	raw = make([]byte, 1024)
	if _, err := f.ReadAt(raw, ext4Superblock); err != nil {
		return nil, 0, fmt.Errorf("reading the file system's superblock: %w", explain(err))
	}
	size, err = f.Seek(0, io.SeekEnd)
	return raw, size, err
}

func isExt4(raw []byte) bool { return binary.LittleEndian.Uint16(raw[ext4Magic:]) == ext4MagicValue }

func parseExt4Size(raw []byte) (int64, error) {
	field := func(at int) int64 { return int64(binary.LittleEndian.Uint32(raw[at:])) }
	if !isExt4(raw) {
		return 0, fmt.Errorf("%w: magic %#x, want %#x", errNoFileSystem, binary.LittleEndian.Uint16(raw[ext4Magic:]), ext4MagicValue)
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
