package disk

import (
	"encoding/binary"
	"strings"
)

func only(at int, s string) func(*crafted) { return func(c *crafted) { c.only(at, s) } }

func without(from, to int) func(*crafted) {
	return func(c *crafted) { c.later(func() { clear(c.image[from:to]) }) }
}

func sized(n int) func(*crafted) {
	return func(c *crafted) {
		c.later(func() { c.image = append(c.image, make([]byte, max(0, n-len(c.image)))...)[:n] })
	}
}

const (
	secondWithoutFirst = "second LUKS2 header without a first"
	jsonWithoutHeader  = "JSON area of a LUKS2 header without its binary header"
	dataWithoutHeader  = "the data of a state disk without its header"
)

// foreignCorpus are disks of others, and what is left of state disks.
var foreignCorpus = []bad{
	{"L22", "first header wiped", without(0, headerSize), "signature", secondWithoutFirst, Damaged},
	{"L22", "first sector wiped", without(0, 512), "signature", secondWithoutFirst, Damaged},
	{"L22", "magic wiped", without(0, 6), "signature", secondWithoutFirst, Damaged},
	{"L22", "both binary headers wiped", func(c *crafted) {
		without(0, binarySize)(c)
		without(headerSize, headerSize+binarySize)(c)
	}, "signature", jsonWithoutHeader, Damaged},
	{"L22", "second header wiped", without(headerSize, headersSize), "secondary header magic", `\x00`, Damaged},
	{"L22", "both headers wiped", without(0, headersSize), "signature", dataWithoutHeader, Damaged},
	{"L22", "all metadata wiped", without(0, metadataSize), "signature", dataWithoutHeader, Damaged},
	{"L22", "both magics wiped", func(c *crafted) { without(0, 6)(c); without(headerSize, headerSize+6)(c) }, "signature", jsonWithoutHeader, Damaged},
	{"L22", "second header at 0x4000", only(0x4000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "second header at 0x8000", only(0x8000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "second header at 0x10000", only(0x10000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "second header at 0x20000", only(0x20000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "second header at 0x40000", only(0x40000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "second header at 0x80000", only(0x80000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "second header at 0x100000", only(0x100000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "second header at 0x200000", only(0x200000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "second header at 0x400000", only(0x400000, secondaryMagic), "signature", secondWithoutFirst, Damaged},
	{"L22", "first magic at 0x4000", only(0x4000, primaryMagic), "signature", secondWithoutFirst, Damaged},

	{"L23", "zeros, then data", only(20<<20, "data of somebody"), "zeros", "something else at byte 20971520", Damaged},
	{"L23", "zeros, then data at the end", only(-600, "data of somebody"), "zeros", "something else at byte 33553832", Damaged},

	{"L26", "LUKS1", only(0, "LUKS\xba\xbe\x00\x01"), "signature", "LUKS header of another version", Unsupported},
	{"L26", "LUKS version 3", func(c *crafted) { c.both(atVersion, "\x00\x03") }, "signature", "LUKS header of another version", Unsupported},
	{"L26", "second header of version 3", func(c *crafted) { c.put(headerSize+atVersion, "\x00\x03") }, "secondary header version", "3", Unsupported},
	{"L26", "BitLocker", only(3, "-FVE-FS-"), "signature", "BitLocker", Foreign},
	{"L26", "partition table", only(510, "\x55\xaa"), "signature", "partition table", Foreign},
	{"L26", "GPT", only(512, "EFI PART"), "signature", "GPT", Foreign},
	{"L26", "GPT at the end", only(-512, "EFI PART"), "signature", "GPT", Foreign},
	{"L26", "ext4", only(1080, "\x53\xef"), "signature", "ext4", Foreign},
	{"L26", "RAID with its superblock near the end", only(-8192, "\xfc\x4e\x2b\xa9"), "signature", "RAID", Foreign},
	{"L26", "ZFS whose first uberblocks are unused", only(zfsRing+77*1024, zfsMagics[0]), "signature", "ZFS", Foreign},
	{"L26", "JSON of a header", only(binarySize, `{"keyslots":{}`), "signature", jsonWithoutHeader, Damaged},

	{"L27", "nothing at all", sized(0), "size", "0", Foreign},
	{"L27", "one sector", sized(512), "size", "512", Foreign},
	{"L27", "the headers alone", sized(headersSize), "size", "32768", Foreign},
	{"L27", "the metadata alone", sized(metadataSize), "size", "16777216", Foreign},
	{"L27", "no room for data", sized(minSize - 512), "size", "33553920", Foreign},
	{"L27", "half a sector", sized(minSize + 256), "size", "33554688", Foreign},
}

// sb overwrites bytes of the dm-integrity superblock.
func sb(at int, s string) func(*crafted) { return func(c *crafted) { c.put(metadataSize+at, s) } }

func le32(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
func le64(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

const (
	inSuperblock = "integrity superblock "
	atSections   = 12
	atProvided   = 16
	atFlags      = 24
)

// superblockCorpus are changes of the dm-integrity superblock.
var superblockCorpus = []bad{
	{"D1", "superblock of zeros", sb(0, strings.Repeat("\x00", superblockSize)), inSuperblock + "magic", `\x00`, Damaged},
	{"D1", "superblock of noise", sb(0, strings.Repeat("noise...", superblockSize/8)), inSuperblock + "magic", "noise", Damaged},
	{"D2", "version 0", sb(8, "\x00"), inSuperblock + "version", "0", Tampered},
	{"D2", "version 7", sb(8, "\x07"), inSuperblock + "version", "7", Tampered},
	{"D2", "version of other flags", sb(8, "\x05"), inSuperblock + "version", "5", Tampered},
	{"D2", "tags of 16 bytes", sb(10, "\x10\x00"), inSuperblock + "integrity_tag_size", "16", Tampered},
	{"D2", "tags of nothing", sb(10, "\x00\x00"), inSuperblock + "integrity_tag_size", "0", Tampered},
	{"D2", "blocks of 512 bytes", sb(28, "\x00"), inSuperblock + "log2_sectors_per_block", "0", Tampered},
	{"D2", "blocks without end", sb(28, "\xff"), inSuperblock + "log2_sectors_per_block", "255", Tampered},
	{"D3", "journal MAC", sb(atFlags, "\x09"), inSuperblock + "flags", "0x9", Tampered},
	{"D3", "recalculating", sb(atFlags, "\x0a"), inSuperblock + "flags", "0xa", Tampered},
	{"D3", "dirty bitmap", sb(atFlags, "\x0c"), inSuperblock + "flags", "0xc", Tampered},
	{"D3", "fixed HMAC", sb(atFlags, "\x18"), inSuperblock + "flags", "0x18", Tampered},
	{"D3", "inline", sb(atFlags, "\x28"), inSuperblock + "flags", "0x28", Tampered},
	{"D3", "flag that nobody knows", sb(atFlags, le32(1<<31|8)), inSuperblock + "flags", "0x80000008", Tampered},
	{"D3", "sector to recalculate from", sb(32, le64(8)), inSuperblock + "recalc_sector", "8", Tampered},
	{"D4", "no journal", sb(atSections, le32(0)), inSuperblock + "journal_sections", "0", Tampered},
	{"D4", "journal larger than memory", sb(atSections, le32(1<<32-1)), inSuperblock + "journal_sections", "4294967295", Tampered},
	{"D4", "journal larger than on any disk of this size", sb(atSections, le32(3)), inSuperblock + "journal_sections", "3", Tampered},
	{"D5", "more data than the disk", sb(atProvided, le64(1<<20)), inSuperblock + "disk size", "65536 sectors", Damaged},
	{"D5", "data without end", sb(atProvided, le64(1<<64-8)), inSuperblock + "provided_data_sectors", "18446744073709551608", Tampered},
	{"D5", "no data", sb(atProvided, le64(0)), inSuperblock + "provided_data_sectors", "0", Tampered},
	{"D5", "half a block", sb(atProvided, le64(4)), inSuperblock + "provided_data_sectors", "4", Tampered},
	{"D5", "one block too many", func(c *crafted) {
		at := metadataSize + atProvided
		sb(atProvided, le64(binary.LittleEndian.Uint64(c.image[at:])+8))(c)
	}, inSuperblock + "disk size", "65536 sectors", Damaged},
	{"D5", "a disk that was twice as large", sb(0, string(superblockOf(2*minSize))), inSuperblock + "disk size", "65536 sectors", Damaged},
	{"D5", "a disk that was of 1 TiB", sb(0, string(superblockOf(1<<40))), inSuperblock + "disk size", "65536 sectors", Damaged},
	{"D6", "short runs of data", sb(9, "\x02"), inSuperblock + "log2_interleave_sectors", "2", Tampered},
	{"D6", "long runs of data", sb(9, "\x20"), inSuperblock + "log2_interleave_sectors", "32", Tampered},
	{"D6", "other runs of data", sb(9, "\x0e"), inSuperblock + "log2_interleave_sectors", "14", Tampered},
	{"D3", "bits of a bitmap", sb(29, "\x03"), inSuperblock + "log2_blocks_per_bitmap_bit", "3", Tampered},
	{"D3", "salt of a journal MAC", sb(48, "salt"), inSuperblock + "padding and salt", "data", Tampered},
	{"D3", "bytes behind the superblock", sb(2048, "x"), inSuperblock + "rest", "data", Tampered},
}

// acceptedCorpus are disks that real releases leave.
var acceptedCorpus = []good{
	{"L7", "integrity key of 32 bytes, as cryptsetup 2.8 writes it", integrityTo(strings.Replace(intActual, `"}`, `","key_size":32}`, 1)), Joined},
	{"L10", "a benchmark of a fast machine", kdfTo(`"type":"argon2id","time":463,"memory":10240,"cpus":4,`), Joined},
	{"L10", "two passes over 64 MiB", kdfTo(`"type":"argon2id","time":2,"memory":65536,"cpus":2,`), Joined},
	{"L10", "nine passes over 64 MiB", kdfTo(`"type":"argon2id","time":9,"memory":65536,"cpus":4,`), Joined},
	{"L10", "the most passes over 64 MiB", kdfTo(`"type":"argon2id","time":128,"memory":65536,"cpus":4,`), Joined},
	{"L10", "four passes over 1 GiB", kdfTo(`"type":"argon2id","time":4,"memory":1048576,"cpus":4,`), Joined},
	{"L11", "a digest of 331408 iterations", edit(`"iterations":1000`, `"iterations":331408`), Joined},
	{"L13", "second keyslot area", area0To("417792"), Joined},
	{"L13", "last keyslot area", area0To("16392192"), Joined},
	{"L19", "no token", token(""), Joined},
	{"L19", "state token", token(joinedToken), Joined},
	{"L19", "state token of a disk that has not joined", token(newToken), Prepared},
	{"L21", "second copy one change behind", func(c *crafted) { c.number(0, atSeqID, 2) }, Joined},
	{"L21", "second copy one change ahead", func(c *crafted) { c.number(1, atSeqID, 2) }, Joined},
	{"L23", "zeros", only(0, ""), Blank},
	{"D2", "superblock of a kernel before 5.11", func(c *crafted) { sb(8, "\x01")(c); sb(atFlags, "\x00")(c) }, Joined},
	{"D5", "a disk that has become larger", func(c *crafted) { sized(minSize + 8<<20)(c) }, Joined},
	{"D1", "no superblock on a disk that will be formatted", func(c *crafted) { token(newToken)(c); sb(0, strings.Repeat("\x00", 4096))(c) }, Prepared},
}
