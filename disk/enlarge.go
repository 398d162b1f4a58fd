package disk

import (
	"context"
	"errors"
	"fmt"
	"os"

	cryptsetup "github.com/martinjungblut/go-cryptsetup"
)

// takeNewSize is for a disk that has become larger: when it is mapped, dm-integrity
// enters the new size into its superblock, but libcryptsetup maps what was there
// before. So the disk is mapped twice, where no tool looks at it, and the end of
// the new part is wiped before one does. The file system grows later (Grow).
//
// The power can be cut between the two. Then nothing is to be entered any more, and
// the last block of the disk, which is wiped last, has no tag.
func (d *Device) takeNewSize(c *cryptsetup.Device, volumeKey []byte) error {
	privately := func(use func()) error {
		err := c.ActivateByVolumeKey(privateMapping, uncopied(volumeKey), volumeKeySize, mapFlags|cryptsetup.CRYPT_ACTIVATE_PRIVATE)
		if err != nil {
			return err
		}
		use()
		return c.Deactivate(privateMapping)
	}
	if d.enlarged() {
		return errors.Join(privately(func() {}), privately(wipeNewEnd))
	}
	tagged, err := d.endIsTagged()
	if err != nil || tagged {
		return err
	}
	return privately(wipeNewEnd)
}

// enlarged is about a Joined disk. A Prepared one is formatted before it is used by
// anybody else than who has just formatted it.
func (d *Device) enlarged() bool {
	return d.state == Joined && d.data.enlarged(uint64(d.size)/512)
}

// endIsTagged reports whether the last block of a Joined disk was ever written.
// Before that, its tag is zeros where a disk is enlarged by zeros. (It can also be
// in the journal only: then the end is wiped once more.) Who can change the disk
// can change that, to no more effect than lines of the kernel about sectors
// without tags.
func (d *Device) endIsTagged() (bool, error) {
	if d.state != Joined || d.data.ProvidedSectors == 0 {
		return true, nil
	}
	f, err := os.Open(d.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	tag := make([]byte, tagSize)
	if _, err := f.ReadAt(tag, d.data.lastTag()); err != nil {
		return false, fmt.Errorf("reading the tag of the last block: %w", explain(err))
	}
	return !isZero(tag), nil
}

// wipeNewEnd goes by the file system, whose size is authenticated, and not by what
// dm-integrity's superblock said, which is not. To fail costs no more than a few
// lines of the kernel about sectors without tags.
func wipeNewEnd() {
	const mapping = "/dev/mapper/" + privateMapping
	l, fileSystem, err := measure(mapping)
	if err != nil {
		return
	}
	w, err := openWiper(mapping)
	if err != nil {
		return
	}
	defer w.Close()
	_ = wipeLastBlockLast(context.Background(), w, l.end(fileSystem))
}

// wipeLastBlockLast makes the last block the proof of all before it.
func wipeLastBlockLast(ctx context.Context, w zeroer, s span) error {
	if s.size() == 0 {
		return nil
	}
	last := max(s.from, s.to-blockSize)
	for _, part := range []span{{s.from, last}, {last, s.to}} {
		if err := w.wipe(ctx, part, func(int64) {}); err != nil {
			return err
		}
		if err := w.sync(); err != nil {
			return err
		}
	}
	return nil
}
