package disk

import (
	"fmt"
	"os"
)

// image is the metadata of a disk, 16 MiB, as it is to be.
func (h header) image(area []byte) ([]byte, error) {
	image := make([]byte, metadataSize)
	for _, c := range headerCopies {
		raw, err := h.encode(c.magic, c.offset)
		if err != nil {
			return nil, err
		}
		copy(image[c.offset:], raw)
	}
	from, _ := h.metadata.keyslotArea()
	copy(image[from:], area)
	return image, nil
}

// markInterrupted makes the disk Prepared with one write of one sector: until
// the next first sector is written, a power cut leads to a new format.
func markInterrupted(path string) error {
	sector := make([]byte, binarySize)
	copy(sector, interrupted)
	return writeSynced(path, sector, 0)
}

// writeImage replaces the metadata of a disk that is marked as interrupted: all
// but the first sector, then, when that is safe on the disk, the first sector.
// Of the 4096 bytes only the first 512 differ from the mark, so that the last
// write is atomic on any disk.
func writeImage(path string, image []byte) error {
	if err := writeSynced(path, image[binarySize:], binarySize); err != nil {
		return err
	}
	return writeSynced(path, image[:binarySize], 0)
}

func writeSynced(path string, b []byte, offset int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(b, offset); err != nil {
		return fmt.Errorf("writing the metadata of %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("writing the metadata of %s: %w", path, err)
	}
	return f.Close()
}
