package disk

import "bytes"

// signature is a mark that some known format leaves on a disk.
type signature struct {
	name   string
	offset int // from the end of the disk if negative
	magic  string
}

// signatures is what makes a disk something else than blank. Each source is the
// format's own description; the offsets are bytes.
var signatures = []signature{
	{"a LUKS header", 0, primaryMagic},
	{"a BitLocker volume", 3, "-FVE-FS-"},
	{"a partition table or boot sector", 510, "\x55\xaa"},
	{"a GPT", 512, "EFI PART"},
	{"a GPT", 4096, "EFI PART"},
	{"a backup GPT", -512, "EFI PART"},
	{"a backup GPT", -4096, "EFI PART"},
	{"an ext2, ext3 or ext4 file system", 1080, "\x53\xef"},
	{"an XFS file system", 0, "XFSB"},
	{"a Btrfs file system", 0x10040, "_BHRfS_M"},
	{"a bcachefs file system", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca"},
	{"an F2FS file system", 1024, "\x10\x20\xf5\xf2"},
	{"an EROFS file system", 1024, "\xe2\xe1\xf5\xe0"},
	{"a SquashFS file system", 0, "hsqs"},
	{"an NTFS file system", 3, "NTFS    "},
	{"an exFAT file system", 3, "EXFAT   "},
	{"an ISO 9660 file system", 32769, "CD001"},
	{"a ReiserFS file system", 65588, "ReIsEr"},
	{"a ZFS pool", 131072, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
	{"a swap area", 4086, "SWAPSPACE2"},
	{"a swap area", 4086, "SWAP-SPACE"},
	{"an LVM physical volume", 512, "LABELONE"},
	{"an LVM physical volume", 0, "LABELONE"},
	{"an LVM physical volume", 1024, "LABELONE"},
	{"an LVM physical volume", 1536, "LABELONE"},
	{"a Linux RAID member", 0, "\xfc\x4e\x2b\xa9"},
	{"a Linux RAID member", 4096, "\xfc\x4e\x2b\xa9"},
	{"a dm-integrity device", 0, "integrt\x00"},
	{"a state disk whose header is gone", metadataSize, "integrt\x00"},
	{"a Linux RAID member", -8192, "\xfc\x4e\x2b\xa9"},
	{"a Linux RAID member", -65536, "\xfc\x4e\x2b\xa9"},
	{"a Ceph BlueStore device", 0, "bluestore block device"},
	{"an APFS container", 32, "NXSB"},
	{"an HFS+ file system", 1024, "H+\x00\x04"},
	{"an HFSX file system", 1024, "HX\x00\x05"},
	{"a UDF file system", 32769, "BEA01"},
	{"a NILFS2 file system", 1030, "\x34\x34"},
	{"an Oracle ASM disk", 32, "ORCLDISK"},
	{"a dm-verity hash device", 0, "verity\x00\x00"},
	{"a dm-thin pool", 32, "\x0e\x84\x19\x01"},
}

// secondaryOffsets are where a second LUKS2 header can lie, for all header
// sizes of the specification.
var secondaryOffsets = []int{0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000}

// foreign names the first known signature on the disk; empty if there is none.
func (s snapshot) foreign() string {
	for _, sig := range signatures {
		if s.has(sig) {
			return sig.name
		}
	}
	for _, offset := range secondaryOffsets {
		if s.has(signature{"", offset, secondaryMagic}) || s.has(signature{"", offset, primaryMagic}) {
			return "a second LUKS2 header without a first"
		}
	}
	return ""
}

func (s snapshot) has(sig signature) bool {
	area, at := s.head, sig.offset
	if at < 0 {
		area, at = s.tail, len(s.tail)+at
	}
	return at >= 0 && at+len(sig.magic) <= len(area) && bytes.Equal(area[at:at+len(sig.magic)], []byte(sig.magic))
}
