package disk

import (
	"encoding/binary"
	"fmt"
)

// Sizes and offsets of dm-integrity's on-disk format, in sectors of 512 bytes,
// for tags of 32 bytes, blocks of 4096 and no journal MAC. Source: the kernel's
// Documentation/admin-guide/device-mapper/dm-integrity.rst, and what kernels
// write (testdata/superblocks).
const (
	superblockSectors     = superblockSize / 512
	blockSectors          = sectorSize / 512
	tagSize               = 32
	log2Interleave        = 15                                    // data sectors between two areas of tags
	log2BitmapBlocks      = 12                                    // without a bitmap, all the same; kernels before 5.2 knew none
	journalSectionSectors = 32*blockSectors + 8                   // 32 entries and their list
	maxJournalSectors     = 1 << 17                               // the most that a formatter chooses, or 1/128 of the disk
	tagAreaSectors        = tagSize << (log2Interleave - 3) / 512 // no padding, whatever the flag says
)

// superblock is struct superblock of dm-integrity, little-endian, without what
// follows it in its 4096 bytes.
type superblock struct {
	Magic            [8]byte
	Version          uint8
	Log2Interleave   uint8
	TagSize          uint16
	JournalSections  uint32
	ProvidedSectors  uint64
	Flags            uint32
	Log2BlockSectors uint8
	Log2BitmapBlocks uint8
	Padding          [2]byte
	RecalcSector     uint64
	Padding2         [8]byte
	Salt             [16]byte
}

// fixedPadding is the one flag that a state disk may have; kernels from 5.11 on
// set it on new disks. The version follows from the flags.
const fixedPadding = 1 << 3

// checkSuperblock holds the dm-integrity superblock against what a formatter
// writes on a disk of this size. The superblock lies on the disk, where the
// kernel reads it again: this keeps mistakes and clumsy hosts out, not a host
// that changes it in between.
func (l *ledger) checkSuperblock(raw []byte, size int64) (superblock, error) {
	var b superblock
	n, err := binary.Decode(raw, binary.LittleEndian, &b)
	if err != nil {
		return superblock{}, fmt.Errorf("decoding the integrity superblock: %w", err) // cannot happen: the size is constant
	}
	return b, l.require("integrity superblock", append(b.rules(uint64(size)/512),
		holds("rest", isZero(raw[n:]), "data", "zeros", Tampered))...)
}

func (b superblock) rules(diskSectors uint64) []rule {
	version := uint8(1)
	if b.Flags&fixedPadding != 0 {
		version = 4
	}
	return []rule{
		equals("magic", string(b.Magic[:]), "integrt\x00", Damaged),
		{"flags", b.Flags&^fixedPadding == 0, words(fmt.Sprintf("%#x", b.Flags)), fmt.Sprintf("0 or %#x", fixedPadding), Tampered},
		equals("version", b.Version, version, Tampered),
		equals("log2_interleave_sectors", b.Log2Interleave, uint8(log2Interleave), Tampered),
		equals("integrity_tag_size", b.TagSize, uint16(tagSize), Tampered),
		equals("log2_sectors_per_block", b.Log2BlockSectors, uint8(3), Tampered),
		{
			"disk size", !b.shrunk(diskSectors), words(fmt.Sprintf("%d sectors, and data up to sector %d", diskSectors, b.end())),
			"as large as the disk was, or larger", Damaged,
		},
		between("journal_sections", b.JournalSections, 1, mostJournalSections(diskSectors)),
		{
			"provided_data_sectors", b.ProvidedSectors > 0 && b.ProvidedSectors%blockSectors == 0 && b.end() <= diskSectors,
			b.ProvidedSectors, fmt.Sprintf("a multiple of %d that fits on %d sectors", blockSectors, diskSectors), Tampered,
		},
		equals("recalc_sector", b.RecalcSector, uint64(0), Tampered),
		{"log2_blocks_per_bitmap_bit", b.Log2BitmapBlocks == 0 || b.Log2BitmapBlocks == log2BitmapBlocks, b.Log2BitmapBlocks, fmt.Sprintf("%d, or 0", log2BitmapBlocks), Tampered},
		holds("padding and salt", b.Padding == [2]byte{} && b.Padding2 == [8]byte{} && b.Salt == [16]byte{}, "data", "zeros", Tampered),
	}
}

// shrunk is for a superblock that is as a formatter writes it on a larger disk: a
// copy that was put on a disk that is too small.
func (b superblock) shrunk(diskSectors uint64) bool {
	end := b.end()
	return end > diskSectors && b.ProvidedSectors > 0 && b.ProvidedSectors <= 1<<55 && b.ProvidedSectors%blockSectors == 0 &&
		b.JournalSections > 0 && b.JournalSections <= mostJournalSections(end)
}

// mostJournalSections bounds the memory that the kernel takes for the journal.
func mostJournalSections(diskSectors uint64) uint32 {
	return uint32(max(1, min(maxJournalSectors, diskSectors>>7)/journalSectionSectors))
}

// enlarged reports whether dm-integrity, when it maps a disk of this size, enters a
// larger size into its superblock: that it does if one more block fits.
func (b superblock) enlarged(diskSectors uint64) bool {
	b.ProvidedSectors += blockSectors
	return b.end() <= diskSectors
}

// lastTag is the byte of the disk at which the tag of its last block of data is.
func (b superblock) lastTag() int64 {
	last := b.ProvidedSectors - blockSectors
	area := b.start() + (last>>log2Interleave)*(tagAreaSectors+1<<log2Interleave)
	return int64(area*512 + last%(1<<log2Interleave)/blockSectors*tagSize)
}

// start is the sector of the disk with the first area of tags.
func (b superblock) start() uint64 {
	return uint64(metadataSize/512) + superblockSectors + uint64(b.JournalSections)*journalSectionSectors
}

// end is the sector of the disk after the last one that holds data.
func (b superblock) end() uint64 {
	if b.ProvidedSectors == 0 || b.ProvidedSectors > 1<<55 {
		return 1<<64 - 1 // more than there is
	}
	last := b.ProvidedSectors - 1
	areas := last>>log2Interleave + 1
	return b.start() + areas*tagAreaSectors + last + 1
}
