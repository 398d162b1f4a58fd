package disk

import (
	"bytes"
	"slices"
)

// signature is a mark that some known format leaves on a disk.
type signature struct {
	name   string
	offset int64 // in bytes; from the end of the disk if negative
	magic  string
	// align is what the size of the disk is rounded down to before an offset from
	// the end counts; 0 for not at all.
	align int64
}

// signatures give a name to what is on a disk that is not new; that it is not
// new, other bytes than zeros have said before. Only with format-nonzero does the
// table decide, beside libblkid. Each source is the format's own description. Of
// formats with several versions or block sizes, each has its line.
var signatures = []signature{
	{"a BitLocker volume", 3, "-FVE-FS-", 0},
	{"a partition table or boot sector", 510, "\x55\xaa", 0},
	{"a GPT", 512, "EFI PART", 0},
	{"a GPT", 4096, "EFI PART", 0},
	{"a backup GPT", -512, "EFI PART", 0},
	{"a backup GPT", -4096, "EFI PART", 0},
	{"an Apple partition map", 512, "PM\x00\x00", 0},
	{"a BSD disk label", 512, "\x57\x45\x56\x82", 0},
	{"a Sun disk label", 508, "\xda\xbe", 0},
	{"an SGI disk label", 0, "\x0b\xe5\xa9\x41", 0},
	{"a dynamic disk of Windows", -512, "PRIVHEAD", 0},
	{"a partition table of Atari", 454, "\x01GEM", 0},
	{"a partition table of Atari", 454, "\x81GEM", 0},
	{"a partition table of Atari", 454, "\x01BGM", 0},
	{"a partition table of Atari", 454, "\x81BGM", 0},
	{"a partition table of Atari", 454, "\x01XGM", 0},
	{"a partition table of Atari", 454, "\x81XGM", 0},
	{"a partition table of Atari", 454, "\x01LNX", 0},
	{"a partition table of Atari", 454, "\x81LNX", 0},
	{"a partition table of Atari", 454, "\x01RAW", 0},
	{"a partition table of Atari", 454, "\x81RAW", 0},
	{"a partition table of Atari", 454, "\x01SWP", 0},
	{"a partition table of Atari", 454, "\x81SWP", 0},
	{"a disk of a mainframe", 8192 + 4, "\xe5\xd6\xd3\xf1", 0}, // VOL1 in EBCDIC
	{"a disk of a mainframe", 8192, "\xd3\xd5\xe7\xf1", 0},     // LNX1

	{"an ext2, ext3 or ext4 file system", 1080, "\x53\xef", 0},
	{"an XFS file system", 0, "XFSB", 0},
	{"a journal of XFS", 0, "\xfe\xed\xba\xbe", 0},
	{"an exFS file system", 0, "EXFS", 0},
	{"a Btrfs file system", 0x10040, "_BHRfS_M", 0},
	{"a bcache device or bcachefs file system", 4096 + 24, "\xc6\x85\x73\xf6", 0},
	{"an F2FS file system", 1024, "\x10\x20\xf5\xf2", 0},
	{"an EROFS file system", 1024, "\xe2\xe1\xf5\xe0", 0},
	{"a SquashFS file system", 0, "hsqs", 0},
	{"a SquashFS file system", 0, "sqsh", 0},
	{"a SquashFS file system", 0, "sqlz", 0},
	{"a CramFS file system", 0, "\x45\x3d\xcd\x28", 0},
	{"a CramFS file system", 0, "\x28\xcd\x3d\x45", 0},
	{"a ROMFS file system", 0, "-rom1fs-", 0},
	{"a FAT file system", 54, "FAT12   ", 0},
	{"a FAT file system", 54, "FAT16   ", 0},
	{"a FAT file system", 82, "FAT32   ", 0},
	{"an NTFS file system", 3, "NTFS    ", 0},
	{"an exFAT file system", 3, "EXFAT   ", 0},
	{"a ReFS file system", 3, "ReFS\x00", 0},
	{"an ISO 9660 file system", 32769, "CD001", 0},
	{"an ISO 9660 file system", 32777, "CDROM", 0},
	{"a UDF file system", 32769, "BEA01", 0},
	{"a UDF file system", 32769, "NSR0", 0},
	{"a ReiserFS file system", 8192 + 52, "ReIsEr", 0},
	{"a ReiserFS file system", 65536 + 52, "ReIsEr", 0},
	{"a Reiser4 file system", 65536, "ReIsEr4", 0},
	{"a JFS file system", 32768, "JFS1", 0},
	{"an HFS file system", 1024, "BD", 0},
	{"an HFS+ file system", 1024, "H+\x00", 0},
	{"an HFSX file system", 1024, "HX\x00", 0},
	{"an APFS container", 32, "NXSB", 0},
	{"a FileVault volume", 88, "CS\x01\x00", 0},
	{"a UFS file system", 8192 + 1372, "\x54\x19\x01\x00", 0},
	{"a UFS file system", 8192 + 1372, "\x00\x01\x19\x54", 0},
	{"a UFS file system", 8192 + 1372, "\x19\x01\x54\x19", 0},
	{"a UFS file system", 65536 + 1372, "\x19\x01\x54\x19", 0},
	{"a UFS file system", 65536 + 1372, "\x19\x54\x01\x19", 0},
	{"a UFS file system", 262144 + 1372, "\x19\x01\x54\x19", 0},
	{"an HPFS file system", 8192, "\x49\xe8\x95\xf9", 0},
	{"a System V file system", 1016, "\x20\x7e\x18\xfd", 0},
	{"a System V file system", 1528, "\x20\x7e\x18\xfd", 0},
	{"a Xenix file system", 2040, "\x44\x55\x2b\x00", 0},
	{"a Minix file system", 1040, "\x7f\x13", 0},
	{"a Minix file system", 1040, "\x8f\x13", 0},
	{"a Minix file system", 1040, "\x68\x24", 0},
	{"a Minix file system", 1040, "\x78\x24", 0},
	{"a Minix file system", 1048, "\x5a\x4d", 0},
	{"a Minix file system", 1040, "\x13\x7f", 0},
	{"a Minix file system", 1040, "\x13\x8f", 0},
	{"a Minix file system", 1040, "\x24\x68", 0},
	{"a Minix file system", 1040, "\x24\x78", 0},
	{"a Minix file system", 1048, "\x4d\x5a", 0},
	{"a ScoutFS file system", 65536 + 4, "\x8b\x42\x3c\x10", 0},
	{"a GFS or GFS2 file system", 65536, "\x01\x16\x19\x70", 0},
	{"an OCFS file system", 8, "OracleCFS", 0},
	{"an OCFS2 file system", 1024, "OCFSV2", 0},
	{"an OCFS2 file system", 2048, "OCFSV2", 0},
	{"an OCFS2 file system", 4096, "OCFSV2", 0},
	{"an OCFS2 file system", 8192, "OCFSV2", 0},
	{"a VxFS file system", 1024, "\xf5\xfc\x01\xa5", 0},
	{"a VxFS file system", 8192, "\xa5\x01\xfc\xf5", 0},
	{"an NSS file system", 4096, "SPB5", 0},
	{"a BFS file system", 0, "\xce\xfa\xad\x1b", 0},
	{"a BeFS file system", 32, "1SFB", 0},
	{"a BeFS file system", 544, "1SFB", 0},
	{"a NILFS2 file system", 1030, "\x34\x34", 0},
	{"a UBI volume", 0, "UBI#", 0},
	{"a UBIFS file system", 0, "\x31\x18\x10\x06", 0},
	{"a Zonefs file system", 0, "SFOZ", 0},
	{"an mpool device", 0, "mpoolDev", 0},
	{"a VMFS volume", 1 << 20, "\x0d\xd0\x01\xc0", 0},
	{"a VMFS file system", 2 << 20, "\x5e\xf1\xab\x2f", 0},

	{"a swap area", 4086, "SWAPSPACE2", 0},
	{"a swap area", 4086, "SWAP-SPACE", 0},
	{"a swap area", 8182, "SWAPSPACE2", 0},
	{"a swap area", 8182, "SWAP-SPACE", 0},
	{"a swap area", 16374, "SWAPSPACE2", 0},
	{"a swap area", 16374, "SWAP-SPACE", 0},
	{"a swap area", 32758, "SWAPSPACE2", 0},
	{"a swap area", 32758, "SWAP-SPACE", 0},
	{"a swap area", 65526, "SWAPSPACE2", 0},
	{"a swap area", 65526, "SWAP-SPACE", 0},
	{"a hibernated system", 4086, "S1SUSPEND", 0},
	{"a hibernated system", 4086, "S2SUSPEND", 0},
	{"a hibernated system", 4086, "ULSUSPEND", 0},
	{"a hibernated system", 4086, "LINHIB0001", 0},

	{"an LVM physical volume", 0, "LABELONE", 0},
	{"an LVM physical volume", 512, "LABELONE", 0},
	{"an LVM physical volume", 1024, "LABELONE", 0},
	{"an LVM physical volume", 1536, "LABELONE", 0},
	{"an LVM1 physical volume", 0, "HM\x01\x00", 0},
	{"an LVM1 physical volume", 0, "HM\x02\x00", 0},
	{"a snapshot of device-mapper", 0, "SnAp", 0},
	{"a dm-verity hash device", 0, "verity\x00\x00", 0},
	{"a dm-thin pool", 32, "\x0e\x84\x19\x01", 0},
	{"a dm-cache device", 32, "\x03\xc4\x18\x00\x00\x00\x00\x00", 0},
	{"a dm-era device", 32, "\x7b\x07\xc1\x7e\x00\x00\x00\x00", 0},
	{"a dm-writecache device", 0, "\x21\x93\x48\x23", 0},
	{"a dm-integrity device", 0, "integrt\x00", 0},
	{"a VDO device", 0, "dmvdo001", 0},
	{"a Stratis pool", 512 + 4, "!Stra0tis\x86\xff", 0},
	{"a Stratis pool", 4608 + 4, "!Stra0tis\x86\xff", 0},
	{"a Ceph BlueStore device", 0, "bluestore block device", 0},
	{"a blobstore of SPDK", 0, "SPDKBLOB", 0},
	{"an Oracle ASM disk", 32, "ORCLDISK", 0},
	{"a DRBD device", -4096 + 60, "\x83\x74\x02\x6b", 4096},
	{"a DRBD device", -4096 + 60, "\x83\x74\x02\x6d", 4096},
	{"a DRBD control volume", 0, "$DRBDmgr=q", 0},
	{"a DRBD proxy log", 16, "DRBDdlh*", 0},
	{"a Linux RAID member", 0, "\xfc\x4e\x2b\xa9", 0},
	{"a Linux RAID member", 4096, "\xfc\x4e\x2b\xa9", 0},
	{"a Linux RAID member", -8192, "\xfc\x4e\x2b\xa9", 4096},
	{"a Linux RAID member", -65536, "\xfc\x4e\x2b\xa9", 65536},
	{"a Linux RAID member", -65536, "\xa9\x2b\x4e\xfc", 65536},
	{"a DDF RAID member", -512, "\xde\x11\xde\x11", 512},
	{"a DDF RAID member", -257 * 512, "\xde\x11\xde\x11", 512},
	{"an Intel RAID member", -1024, "Intel Raid ISM Cfg Sig. ", 512},
	{"an LSI MegaRAID member", -512, "$XIDE$", 512},
	{"a VIA RAID member", -512, "\x55\xaa", 512},
	{"a Silicon Medley RAID member", -512 + 96, "\x00\x00\x00\x2f", 512},
	{"an NVIDIA RAID member", -1024, "NVIDIA", 512},
	{"a Promise FastTrak RAID member", -63 * 512, "Promise Technology, Inc.", 512},
	{"a HighPoint RAID member", -11 * 512, "\xf3\x16\x78\x5a", 512},
	{"a HighPoint RAID member", -11 * 512, "\xfd\x16\x78\x5a", 512},
	{"a HighPoint RAID member", 4640, "\xf0\x16\x78\x5a", 0},
	{"a HighPoint RAID member", 4640, "\xfd\x16\x78\x5a", 0},
	{"an Adaptec RAID member", -512, "\x37\xfc\x4d\x1e", 512},
	{"a JMicron RAID member", -512, "JM", 512},
	{"a GELI device", -512, "GEOM::ELI", 0},
	{"a GEOM device of FreeBSD", -512, "GEOM::", 0},
	{"a GEOM device of FreeBSD", -4096, "GEOM::", 0},
	{"a softraid device of OpenBSD", 8192, "marcCRAM", 0},

	{"an image file of QEMU", 0, "QFI\xfb", 0},
	{"an image file of VMware", 0, "KDMV", 0},
	{"an image file of Hyper-V", 0, "conectix", 0},
	{"an image file of Hyper-V", -512, "conectix", 0},
	{"an image file of Hyper-V", 0, "vhdxfile", 0},
	{"a tar archive", 257, "ustar", 0},
	{"a cpio archive", 0, "070701", 0},
	{"a zip archive", 0, "PK\x03\x04", 0},
	{"data compressed by gzip", 0, "\x1f\x8b\x08", 0},
	{"data compressed by bzip2", 0, "BZh", 0},
	{"data compressed by xz", 0, "\xfd7zXZ\x00", 0},
	{"data compressed by zstd", 0, "\x28\xb5\x2f\xfd", 0},
	{"data compressed by lz4", 0, "\x04\x22\x4d\x18", 0},
	{"a dump of PostgreSQL", 0, "PGDMP", 0},
}

// A ZFS label has a list of properties, in the order of bytes of the machine that
// wrote it, and a ring of uberblocks, of which any may be the first in use.
const (
	zfsLabel = 256 << 10 // two of them at each end of the disk, whose size is rounded down to this
	zfsList  = 16 << 10
	zfsRing  = 128 << 10
)

var (
	zfsLists  = []string{"\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"}
	zfsMagics = []string{"\x0c\xb1\xba\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\xba\xb1\x0c"}
)

// secondaryOffsets are where a second LUKS2 header can lie, for all header
// sizes of the specification.
var secondaryOffsets = []int64{0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000}

// foreign names the first known signature on a disk without a LUKS2 header at
// its start, and what it means; empty if there is none.
func (t traces) foreign() (string, Meaning) {
	if t.has(signature{"", 0, primaryMagic, 0}) {
		return "a LUKS header of another version", Unsupported
	}
	if found := t.remains(); found != "" {
		return found, Damaged
	}
	for _, sig := range signatures {
		if t.has(sig) {
			return sig.name, Foreign
		}
	}
	if t.zfs() {
		return "a ZFS pool", Foreign
	}
	return "", 0
}

func (t traces) zfs() bool {
	at := func(offset int64) func(string) bool {
		return func(magic string) bool { return t.has(signature{"", offset, magic, zfsLabel}) }
	}
	for _, label := range []int64{0, zfsLabel, -2 * zfsLabel, -zfsLabel} {
		if slices.ContainsFunc(zfsLists, at(label+zfsList)) {
			return true
		}
		for block := label + zfsRing; block < label+zfsLabel; block += 1024 {
			if slices.ContainsFunc(zfsMagics, at(block)) {
				return true
			}
		}
	}
	return false
}

// remains finds what is left of a LUKS2 disk when its first sectors are gone.
func (t traces) remains() string {
	for _, at := range secondaryOffsets {
		if t.has(signature{"", at, secondaryMagic, 0}) || t.has(signature{"", at, primaryMagic, 0}) {
			return "a second LUKS2 header without a first"
		}
	}
	for _, at := range append([]int64{0}, secondaryOffsets...) {
		if t.has(signature{"", at + binarySize, `{"keyslots":`, 0}) {
			return "the JSON area of a LUKS2 header without its binary header"
		}
	}
	if t.has(signature{"", metadataSize, "integrt\x00", 0}) {
		return "the data of a state disk without its header"
	}
	return ""
}

func (t traces) has(sig signature) bool {
	area, at := t.head, sig.offset
	if at < 0 {
		end := t.size
		if sig.align != 0 {
			end -= end % sig.align
		}
		area, at = t.tail, end+at-(t.size-int64(len(t.tail)))
	}
	return at >= 0 && at+int64(len(sig.magic)) <= int64(len(area)) && bytes.HasPrefix(area[at:], []byte(sig.magic))
}
