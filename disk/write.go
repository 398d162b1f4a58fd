package disk

import "io"

// storage is what the metadata is written to: a block device.
type storage interface {
	io.WriterAt
	Sync() error
}

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

// interruptedMark is the first sector of a disk whose format or enrolment has begun.
func interruptedMark() []byte {
	sector := make([]byte, binarySize)
	copy(sector, interrupted)
	return sector
}

// markInterrupted makes the disk Prepared with one write of one sector: until
// the next first sector is written, a power cut leads to a new format.
func markInterrupted(s storage) error { return writeSynced(s, interruptedMark(), 0) }

// writeImage replaces the metadata of a disk that is marked as interrupted: all
// but the first sector, then, when that is safe on the disk, the first sector.
// Of its 4096 bytes only the first 512 differ from the mark, so that the last
// write is atomic on any disk.
func writeImage(s storage, image []byte) error {
	if err := writeSynced(s, image[binarySize:], binarySize); err != nil {
		return err
	}
	return writeSynced(s, image[:binarySize], 0)
}

// replaceImage goes from one header to the next.
func replaceImage(s storage, image []byte) error {
	if err := markInterrupted(s); err != nil {
		return err
	}
	return writeImage(s, image)
}

func writeSynced(s storage, b []byte, offset int64) error {
	if _, err := s.WriteAt(b, offset); err != nil {
		return err
	}
	return s.Sync()
}
