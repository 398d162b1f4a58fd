// Package disk is the state disk: what is on it, format, prove a key, unlock,
// and the changes of a disk that joins a cluster.
//
// Trust boundary: everything on the disk is the adversary's. The metadata is
// read once into memory and held against an allow-list; libcryptsetup only ever
// sees a header that this package wrote itself from the checked values, in
// memory. Format writes are such that a power cut at any point leaves a disk
// that is Blank, Prepared or Joined, because the first sector decides and is
// written last.
//
// Not covered: a host that puts back an older state of the whole disk, or that
// destroys data.
package disk

import (
	"bytes"
	"context"
	"fmt"

	"disk-mapper/internal/keys"
)

// minSize leaves room for data behind the metadata.
const minSize = metadataSize + 16<<20

// interrupted marks a disk whose format or enrolment has begun and not ended.
// It replaces the first sector, so no header can be found beside it.
const interrupted = "disk-mapper: this disk is being formatted\n"

// Device is a disk as it was found when it was opened.
type Device struct {
	path   string
	state  State
	zero   bool
	header header
	area   []byte // keyslot material
	tokens tokens
}

// Open reads the metadata of the disk at path once and decides what it is. It
// fails with a *Refusal if the disk is nothing that this daemon may touch, and
// with the error of the read if it cannot be read. Nothing is written.
func Open(ctx context.Context, path string) (*Device, error) {
	s, err := takeSnapshot(ctx, path)
	if err != nil {
		return nil, err
	}
	d, err := s.verdict()
	if err != nil {
		return nil, fmt.Errorf("%s is no state disk of ours and was left untouched: %w", path, err)
	}
	d.path = path
	return d, nil
}

// verdict is pure: all that it knows is in the snapshot.
func (s snapshot) verdict() (*Device, error) {
	if s.size < minSize {
		return nil, refuse("size", s.size, "at least 32 MiB")
	}
	first := s.head[:binarySize]
	if bytes.HasPrefix(first, []byte(interrupted)) && isZero(first[len(interrupted):]) {
		return &Device{state: Prepared}, nil
	}
	if string(first[:6]) == primaryMagic && first[7] == 2 && first[6] == 0 {
		return s.luks2()
	}
	if found := s.foreign(); found != "" {
		return nil, refuse("signature", found, "LUKS2, or nothing at all")
	}
	return &Device{state: Blank, zero: isZero(s.head) && isZero(s.tail)}, nil
}

func (s snapshot) luks2() (*Device, error) {
	var copies [2]header
	for i, c := range headerCopies {
		var err error
		if copies[i], err = parseCopy(s.head[c.offset:c.offset+headerSize], c.name, c.magic, c.offset); err != nil {
			return nil, err
		}
	}
	h, err := checkCopies(copies[0], copies[1])
	if err != nil {
		return nil, err
	}
	t, err := parseTokens(h.metadata)
	if err != nil {
		return nil, err
	}
	from, to := h.metadata.keyslotArea()
	d := &Device{state: Joined, header: h, tokens: t, area: bytes.Clone(s.head[from:to])}
	if t.prepared() {
		d.state = Prepared
	}
	return d, nil
}

// State is what the disk was found to be.
func (d *Device) State() State { return d.state }

// Zero reports whether a Blank disk held nothing but zeros where metadata lies.
func (d *Device) Zero() bool { return d.zero }

// Path is the block device.
func (d *Device) Path() string { return d.path }

// ID is the UUID of the disk; the zero value unless it has a header.
func (d *Device) ID() keys.DiskID { return d.header.id }

// Salt is the cluster's salt from the disk's token. ok is false for disks that
// keep it in node_state.json only.
func (d *Device) Salt() (salt keys.MeasurementSalt, ok bool) {
	return d.tokens.salt, d.tokens.salt.Bytes() != nil
}

// Prove tries key against the keyslot, in memory: nothing is mapped or written.
// It fails with keys.ErrWrongKey if the key does not open the disk. It takes what
// the disk's KDF takes, up to some seconds, and cannot be interrupted.
func (d *Device) Prove(key keys.DiskKey) error {
	volumeKey, err := d.volumeKey(key)
	clear(volumeKey)
	return err
}

func (d *Device) volumeKey(key keys.DiskKey) ([]byte, error) {
	if d.area == nil {
		return nil, fmt.Errorf("%s is %v: it has no keyslot", d.path, d.state)
	}
	return openKeyslot(d.header.metadata, d.area, key)
}
