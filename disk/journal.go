package disk

import (
	"encoding/binary"
	"slices"
)

// What dm-integrity keeps in its journal without encryption or MAC. Source: the kernel's
// drivers/md/dm-integrity.c, and what kernels write (VM TestHeaderDrill). A section has 32
// entries of 104 bytes, four to a sector, then their data; each sector ends with the number
// of its commit, mixed with its place.
const (
	journalEntrySize        = 104
	journalEntriesPerSector = 4
	journalListSectors      = 8
	journalUnused           = 0xffffffff // in the upper half of an entry's sector number
)

var journalCommits = [...]uint64{0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0x4444444444444444}

// journalIntact reports whether each sector is where it was written. With one that is
// not, the kernel fails every access to the disk.
func journalIntact(journal []byte) bool {
	for at := 0; at < len(journal); at += 512 {
		if !commitKnown(journal[at:at+512], commitPlace(at/512)) {
			return false
		}
	}
	return true
}

func commitKnown(sector []byte, place uint64) bool {
	id := binary.LittleEndian.Uint64(sector[504:]) ^ place
	return slices.Contains(journalCommits[:], id)
}

// commitPlace is the section of a sector, and its number in there.
func commitPlace(sector int) uint64 {
	return uint64(sector/journalSectionSectors)<<32 ^ uint64(sector%journalSectionSectors)
}

// emptyJournal is as the kernel makes one.
func emptyJournal(sections int) []byte {
	journal := make([]byte, sections*journalSectionSectors*512)
	for sector := range len(journal) / 512 {
		raw := journal[sector*512:][:512]
		binary.LittleEndian.PutUint64(raw[504:], journalCommits[0]^commitPlace(sector))
		if sector%journalSectionSectors < journalListSectors {
			for entry := range journalEntriesPerSector {
				binary.LittleEndian.PutUint32(raw[entry*journalEntrySize+4:], journalUnused)
			}
		}
	}
	return journal
}
