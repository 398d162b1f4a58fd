package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"disk-mapper/internal/keys"

	"golang.org/x/sys/unix"
)

// Refusals to restore a header.
var (
	// ErrOtherDisk is for a backup of another disk.
	ErrOtherDisk = errors.New("the backup is that of another disk")
	// ErrNewerHeader is for a disk with a header that is newer than the backup.
	ErrNewerHeader = errors.New("the header on the disk is newer than the backup")
	// ErrForeignData is for a disk that has somebody else's data at its start, a keyslot
	// that cannot be told to be its own, or our mark that it is to be formatted.
	ErrForeignData = errors.New("something else than a header is there")
)

// Over says what may be lost under a restored header. The zero value is nothing.
type Over struct {
	NewerHeader, ForeignData bool
	// OtherDisk is for a header that somebody has put on the wrong disk.
	OtherDisk bool
}

// Restored says what Restore did.
type Restored struct {
	// Unidentified is set if nothing on the disk said that the backup is its own.
	Unidentified bool
	// EmptyJournal is set if dm-integrity's journal was damaged and was written anew:
	// the last writes before the disk was damaged may be lost.
	EmptyJournal bool
}

// Restore writes the header back to the disk at path, which nobody may use. It fails,
// with nothing written, with ErrOtherDisk, also if the disk is smaller than that of the
// backup, ErrNewerHeader or ErrForeignData, or with EBUSY. If the power goes in between,
// the disk is refused as damaged, and Restore can be repeated. What was written is read
// again and judged.
func (b *Backup) Restore(ctx context.Context, path string, over Over) (Restored, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return Restored{}, fmt.Errorf("%s is mapped, mounted or held otherwise: %w", path, err)
	}
	if err != nil {
		return Restored{}, err
	}
	defer f.Close()
	t, err := b.target(f)
	if err == nil {
		err = b.allowed(ctx, f, t, over)
	}
	if err != nil {
		return Restored{}, fmt.Errorf("%s was left untouched: %w", path, err)
	}
	if err := t.write(f); err != nil {
		return Restored{}, fmt.Errorf("restoring the header of %s, which is refused until that is done again: %w", path, err)
	}
	return Restored{Unidentified: !b.owns(t.found) && !b.hasKeyslot(t.found), EmptyJournal: t.journal != nil}, b.verify(f, t)
}

// target is a disk, and what is to be on it.
type target struct {
	size    int64
	found   []byte // its first bytes
	region  []byte
	journal []byte // nil if that on the disk is left
}

func (b *Backup) target(disk io.ReadSeeker) (target, error) {
	size, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return target{}, err
	}
	if b.Complete && size < b.Size || size < minSize {
		return target{}, fmt.Errorf("%w: it has %d bytes, and the disk of the backup %d", ErrOtherDisk, size, b.Size)
	}
	t := target{size: size, found: make([]byte, regionSize), region: bytes.Clone(b.region)}
	if _, err := disk.Seek(0, io.SeekStart); err != nil {
		return target{}, err
	}
	if _, err := io.ReadFull(disk, t.found); err != nil {
		return target{}, err
	}
	if !b.Complete { // the superblock on the disk has to be good
		t.region = append(t.region, t.found[metadataSize:]...)
	}
	if _, err := judged(t.region, size); err != nil {
		return target{}, fmt.Errorf("the disk would be no state disk of ours afterwards: %w", err)
	}
	return t, t.readJournal(disk)
}

// readJournal reads what follows the superblock, and decides what becomes of it.
func (t *target) readJournal(disk io.Reader) error {
	var s superblock
	if _, err := binary.Decode(t.region[metadataSize:], binary.LittleEndian, &s); err != nil {
		return err
	}
	journal := make([]byte, int(s.JournalSections)*journalSectionSectors*512)
	if _, err := io.ReadFull(disk, journal); err != nil {
		return err
	}
	if !journalIntact(journal) {
		t.journal = emptyJournal(int(s.JournalSections))
	}
	return nil
}

// allowed compares the backup with what is on the disk.
func (b *Backup) allowed(ctx context.Context, disk *os.File, t target, over Over) error {
	others := false
	for _, c := range headerCopies {
		id, seqID, ok := identified(t.found, c)
		switch {
		case !ok:
		case id != b.ID() && !over.OtherDisk:
			return fmt.Errorf("%w: the %s is that of %s, the backup that of %s", ErrOtherDisk, c.name, id, b.ID())
		case id != b.ID():
			others = true
		case over.NewerHeader:
		case seqID > b.SeqID():
			return fmt.Errorf("%w: seqid %d and %d: the backup would let an old key open the disk, and the present one no more", ErrNewerHeader, seqID, b.SeqID())
		case seqID == b.SeqID() && b.differs(t.found, c):
			return fmt.Errorf("%w: the %s is whole, of the same seqid %d, and another one: each may have a key that opens the disk, and the other has not", ErrNewerHeader, c.name, seqID)
		}
	}
	own := b.owns(t.found)
	if over.ForeignData {
		return nil
	}
	if bytes.HasPrefix(t.found, []byte(interrupted)) {
		return fmt.Errorf("%w: the mark that the disk is to be formatted", ErrForeignData)
	}
	if b.Complete && t.size > b.Size && !own {
		return fmt.Errorf("%w: it has %d bytes, the disk of the backup had %d, and nothing says that it is the same one, enlarged", ErrOtherDisk, t.size, b.Size)
	}
	if !own && !others && !isZero(b.keyslot(t.found)) && !b.hasKeyslot(t.found) {
		return fmt.Errorf("%w: a keyslot, or other data, that is not in the backup", ErrForeignData)
	}
	return notForeign(ctx, disk, t, own)
}

// owns reports whether what is left of a header says that the backup is its own.
func (b *Backup) owns(start []byte) bool {
	return slices.ContainsFunc(headerCopies, func(c headerCopy) bool {
		id, _, ok := identified(start, c)
		return ok && id == b.ID()
	})
}

// hasKeyslot reports whether that of the backup is on the disk.
func (b *Backup) hasKeyslot(start []byte) bool {
	return !isZero(b.area) && bytes.Equal(b.keyslot(start), b.area)
}

// keyslot is what the disk has where the backup has its keyslot.
func (b *Backup) keyslot(start []byte) []byte {
	from, to := b.header.metadata.keyslotArea()
	return start[from:to]
}

// differs reports whether a copy is whole and not that of the backup.
func (b *Backup) differs(start []byte, c headerCopy) bool {
	if _, err := new(ledger).parseCopy(start, c); err != nil {
		return false
	}
	return !bytes.Equal(start[c.offset:][:headerSize], b.region[c.offset:][:headerSize])
}

// notForeign looks at the disk, and at its start alone: a superblock of dm-integrity
// that is left behind it does not make a file system one of ours. On a disk that is
// known to be the one of the backup, a header may be anything but somebody else's.
func notForeign(ctx context.Context, disk *os.File, t target, own bool) error {
	for _, looked := range []io.ReaderAt{disk, startOf(t.found[:metadataSize])} {
		r, err := answered(ctx, disk.Name(), func() (Report, error) { return snapshot{looked, t.size}.report(identity{}) })
		if err != nil {
			return err
		}
		if r.Refusal != nil && r.Refusal.Meaning != Damaged && (!own || r.Refusal.Meaning == Foreign) {
			return fmt.Errorf("%w: %s: %s", ErrForeignData, r.Refusal.Field, r.Refusal.Found)
		}
	}
	return nil
}

// identified reads whose header a copy is or was: magic and checksum may be lost. A
// LUKS1 header has its UUID at the same place.
func identified(start []byte, c headerCopy) (id keys.DiskID, seqID uint64, ok bool) {
	var h binaryHeader
	if _, err := binary.Decode(start[c.offset:][:headerSize], binary.BigEndian, &h); err != nil {
		return keys.DiskID{}, 0, false
	}
	id, err := keys.ParseDiskID(text(h.UUID[:]))
	return id, h.SeqID, err == nil
}

// write begins with a first sector whose checksum is wrong, so that until the last
// write the disk is one with a damaged header, whatever it was before: refused, and
// formatted by nobody.
func (t target) write(s storage) error {
	broken := bytes.Clone(t.region[:binarySize])
	broken[checksumOffset] ^= 0xff
	if err := writeSynced(s, broken, 0); err != nil {
		return err
	}
	if t.journal != nil {
		if err := writeSynced(s, t.journal, regionSize); err != nil {
			return err
		}
	}
	return writeImage(s, t.region)
}

// verify reads what was written past the page cache, as far as that can be asked for.
func (b *Backup) verify(f *os.File, t target) error {
	_ = unix.Fadvise(int(f.Fd()), 0, regionSize+int64(len(t.journal)), unix.FADV_DONTNEED)
	written := make([]byte, regionSize)
	if _, err := f.ReadAt(written, 0); err != nil {
		return fmt.Errorf("reading the restored header: %w", err)
	}
	if !bytes.Equal(written, t.region) {
		return errors.New("the disk does not return what was written: the header is not restored")
	}
	_, err := judged(written, t.size)
	return err
}
