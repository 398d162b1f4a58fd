package disk

import (
	"context"
	"fmt"

	"disk-mapper/internal/keys"
)

// Format makes a new, empty state disk under key and returns it as it was then
// found. The disk must be Blank or Prepared. Until Format returns, the disk is
// marked as interrupted and a power cut leads to another format. progress is
// called often while the disk is wiped.
func (d *Device) Format(ctx context.Context, key keys.DiskKey, marker Marker, progress func(Progress)) (*Device, error) {
	if d.state != Blank && d.state != Prepared {
		return nil, fmt.Errorf("refusing to format %s: it is %v", d.path, d.state)
	}
	if key.Bytes() == nil {
		return nil, fmt.Errorf("formatting %s: %w: no key", d.path, keys.ErrLength)
	}
	volumeKey := random(volumeKeySize)
	defer clear(volumeKey)
	h, area := newHeader(volumeKey, key, marker)
	if err := d.format(ctx, h, area, volumeKey, progress); err != nil {
		return nil, fmt.Errorf("formatting %s: %w", d.path, err)
	}
	return Open(ctx, d.path)
}

func (d *Device) format(ctx context.Context, h header, area, volumeKey []byte, progress func(Progress)) error {
	image, err := h.image(area)
	if err != nil {
		return err
	}
	if err := markInterrupted(d.path); err != nil {
		return err
	}
	if err := formatIntegrity(ctx, d.path, h.id, volumeKey, progress); err != nil {
		return err
	}
	return writeImage(d.path, image)
}

func newHeader(volumeKey []byte, key keys.DiskKey, marker Marker) (header, []byte) {
	k, area := sealKeyslot(volumeKey, key)
	h := header{id: keys.NewDiskID(), seqID: 1, salt: [64]byte(random(64)), metadata: newMetadata(k, newDigest(volumeKey))}
	h.metadata.Tokens[stateTokenID] = marker.token(k)
	return h, area
}

// Enroll makes a Prepared disk Joined: it opens with final in place of current,
// says so, and carries the cluster's salt. The data and an active mapping are
// not touched. node_state.json must have been written before: a power cut during
// Enroll leaves the disk either Prepared or completely Joined.
func (d *Device) Enroll(ctx context.Context, current, final keys.DiskKey, salt keys.MeasurementSalt) error {
	if d.state != Prepared {
		return fmt.Errorf("enrolling %s: it is %v, want %v", d.path, d.state, Prepared)
	}
	volumeKey, err := d.volumeKey(ctx, current)
	if err != nil {
		return fmt.Errorf("enrolling %s: %w", d.path, err)
	}
	defer clear(volumeKey)
	h := d.header
	k, area := sealKeyslot(volumeKey, final)
	h.seqID++
	h.metadata.Keyslots = map[string]keyslot{"0": k}
	h.metadata.Tokens = joinedTokens(salt)
	image, err := h.image(area)
	if err != nil {
		return fmt.Errorf("enrolling %s: %w", d.path, err)
	}
	if err := markInterrupted(d.path); err != nil {
		return fmt.Errorf("enrolling %s: %w", d.path, err)
	}
	return writeImage(d.path, image)
}
