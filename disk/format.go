package disk

import (
	"context"
	"fmt"

	"disk-mapper/internal/keys"

	"golang.org/x/sys/unix"
)

// Format makes a new state disk under key, with an empty file system, and returns
// it as it was then found. The disk must be Blank, Prepared or Unrecognised. Until Format
// returns, the disk is marked as interrupted and a power cut leads to another
// format. It fails with ErrChanged, before anything is written, if the disk is not
// the one that was opened, or does not begin as it did then. progress is called
// often while the disk is wiped.
func (d *Device) Format(ctx context.Context, key keys.DiskKey, extent Extent, progress func(Progress)) (*Device, error) {
	if d.state != Blank && d.state != Prepared && d.state != Unrecognised {
		return nil, fmt.Errorf("refusing to format %s: it is %v", d.path, d.state)
	}
	if key.Bytes() == nil {
		return nil, fmt.Errorf("formatting %s: %w: no key", d.path, keys.ErrLength)
	}
	if err := d.format(ctx, key, extent, progress); err != nil {
		return nil, fmt.Errorf("formatting %s: %w", d.path, err)
	}
	return Open(ctx, d.path)
}

func (d *Device) format(ctx context.Context, key keys.DiskKey, extent Extent, progress func(Progress)) error {
	mke2fs, err := findMke2fs()
	if err != nil {
		return err
	}
	if err := extent.try(ctx, mke2fs, d.size); err != nil {
		return err
	}
	volumeKey := random(volumeKeySize)
	defer clear(volumeKey)
	h, area, err := newHeader(volumeKey, key)
	if err != nil {
		return err
	}
	image, err := h.image(area)
	if err != nil {
		return err
	}
	// Exclusive, as mounts and mappings open a disk. It is closed before libcryptsetup maps it.
	if err := d.change(unix.O_EXCL, markInterrupted); err != nil {
		return err
	}
	marked := d.identity
	marked.first = interruptedMark()
	err = formatIntegrity(d.path, journalSize(d.size), h.id, volumeKey, func(mapping string) error {
		l, size, err := extent.wipe(ctx, mapping, progress)
		if err != nil {
			return err
		}
		return mke2fs.make(ctx, l, mapping, size)
	})
	if err != nil {
		return err
	}
	return marked.change(0, func(s storage) error { return writeImage(s, image) })
}

// journalSize is dm-integrity's: as the kernel chooses it, up to a size that costs
// no time. It is written by the format and read by each unlock.
func journalSize(disk int64) uint64 { return uint64(min(16<<20, disk/128)) }

// newHeader is the header of a disk that is formatted, and its keyslot area.
func newHeader(volumeKey []byte, key keys.DiskKey) (header, []byte, error) {
	k, area := sealKeyslot(volumeKey, key)
	d, err := newDigest(volumeKey)
	h := header{id: keys.NewDiskID(), seqID: 1, salt: [64]byte(random(64)), metadata: newMetadata(k, d)}
	return h, area, err
}

// Enroll makes a Prepared disk Joined: it opens with final in place of current,
// says so, and carries the cluster's salt. The data and an active mapping are
// not touched. It fails with ErrChanged as Format does. node_state.json must have
// been written before: a power cut during Enroll leaves the disk either Prepared or
// completely Joined.
func (d *Device) Enroll(current, final keys.DiskKey, salt keys.MeasurementSalt) error {
	if d.state != Prepared {
		return fmt.Errorf("enrolling %s: it is %v, want %v", d.path, d.state, Prepared)
	}
	if final.Bytes() == nil || salt.Bytes() == nil {
		return fmt.Errorf("enrolling %s: %w: no key or no salt", d.path, keys.ErrLength)
	}
	image, err := d.enrolled(current, final, salt)
	if err == nil {
		err = d.change(0, func(s storage) error { return replaceImage(s, image) })
	}
	if err != nil {
		return fmt.Errorf("enrolling %s: %w", d.path, err)
	}
	return nil
}

// enrolled is the metadata of the disk once it has joined.
func (d *Device) enrolled(current, final keys.DiskKey, salt keys.MeasurementSalt) ([]byte, error) {
	volumeKey, err := d.volumeKey(current)
	if err != nil {
		return nil, err
	}
	defer volumeKey.Wipe()
	h := d.header
	k, area := sealKeyslot(volumeKey.Bytes(), final)
	h.seqID++
	h.metadata.Keyslots = map[string]keyslot{"0": k}
	h.metadata.Tokens = joinedTokens(salt)
	return h.image(area)
}
