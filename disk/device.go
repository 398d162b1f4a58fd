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
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"

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
	size   int64
	spare  int64 // of a Joined disk: how much dm-integrity leaves at its end
	state  State
	stray  string // of a Blank disk: where something else than zeros was found
	header header
	area   []byte // keyslot material
	proven *proven
}

// proven is what Unlock needs not derive again: a costly KDF takes seconds.
type proven struct {
	sync.Mutex
	by        keys.DiskKey
	volumeKey keys.VolumeKey
}

// Report is a verdict in full.
type Report struct {
	// Findings are all fields that the verdict has looked at, in their order.
	Findings []Finding
	// Refusal is why the disk must not be touched, and Device is nil then.
	Refusal *Refusal
	Device  *Device
}

// Open reads the metadata of the disk at path once and decides what it is. It
// fails with a *Refusal if the disk is nothing that this daemon may touch, and
// with the error of the read if it cannot be read. Nothing is written.
func Open(ctx context.Context, path string) (*Device, error) {
	r, err := Inspect(ctx, path)
	if err != nil {
		return nil, err
	}
	if r.Refusal != nil {
		return nil, fmt.Errorf("%s is no state disk of ours and was left untouched: %w", path, r.Refusal)
	}
	return r.Device, nil
}

// Inspect is Open for somebody who wants to know everything: a refused disk is
// part of the report. path may be a plain file with the contents of a disk.
func Inspect(ctx context.Context, path string) (Report, error) {
	s, err := takeSnapshot(ctx, path)
	if err != nil {
		return Report{}, err
	}
	var l ledger
	d, err := s.verdict(&l)
	r := Report{Findings: l.findings, Device: d}
	if err != nil && !errors.As(err, &r.Refusal) {
		return Report{}, err
	}
	if d != nil {
		d.path, d.size = path, s.size
	}
	return r, nil
}

// verdict is pure: all that it knows is in the snapshot.
func (s snapshot) verdict(l *ledger) (*Device, error) {
	if err := l.require("", rule{"size", s.size >= minSize && s.size%512 == 0, s.size, "whole sectors, 32 MiB or more", Foreign}); err != nil {
		return nil, err
	}
	first := s.head[:binarySize]
	if bytes.HasPrefix(first, []byte(interrupted)) && isZero(first[len(interrupted):]) {
		return &Device{state: Prepared}, l.require("", rule{"first sector", true, words("the mark of an interrupted format"), "that, or a LUKS2 header", 0})
	}
	if string(first[:8]) == primaryMagic+"\x00\x02" {
		return s.luks2(l)
	}
	return s.blank(l)
}

func (s snapshot) luks2(l *ledger) (*Device, error) {
	var copies [2]header
	var errs [2]error
	for i, c := range headerCopies { // both, so that a report has both
		copies[i], errs[i] = l.parseCopy(s.head, c)
	}
	if err := cmp.Or(errs[0], errs[1]); err != nil {
		return nil, err
	}
	h, err := l.checkCopies(copies[0], copies[1])
	if err != nil {
		return nil, err
	}
	from, to := h.metadata.keyslotArea()
	d := &Device{state: Joined, header: h, area: bytes.Clone(s.head[from:to]), proven: new(proven)}
	if h.tokens.prepared() {
		d.state = Prepared // and will be formatted, whatever lies behind the header
		return d, nil
	}
	b, err := l.checkSuperblock(s)
	if err != nil {
		return nil, err
	}
	d.spare = s.size - int64(b.end())*512
	return d, nil
}

// blank is for disks without a header: nothing that is known may be on them, and
// none that holds data behind a start of zeros is taken for new.
func (s snapshot) blank(l *ledger) (*Device, error) {
	found, meaning := s.foreign()
	if err := l.require("", rule{"signature", found == "", words(cmp.Or(found, "none")), "LUKS2, or none", meaning}); err != nil {
		return nil, err
	}
	zeros, wiped := "everywhere", false
	if s.stray != "" {
		wiped = isZero(s.head)
		zeros = "not at " + s.stray
	}
	if err := l.require("", rule{"zeros", !wiped, words(zeros), "everywhere, or not at its start", Damaged}); err != nil {
		return nil, err
	}
	return &Device{state: Blank, stray: s.stray}, nil
}

// State is what the disk was found to be.
func (d *Device) State() State { return d.state }

// Zero reports whether a Blank disk held nothing but zeros wherever it was looked
// at: its first 16 MiB, its end, and samples in between.
func (d *Device) Zero() bool { return d.state == Blank && d.stray == "" }

// Stray says where a Blank disk that is not Zero holds something.
func (d *Device) Stray() string { return d.stray }

// Path is the block device.
func (d *Device) Path() string { return d.path }

// ID is the UUID of the disk; the zero value unless it has a header.
func (d *Device) ID() keys.DiskID { return d.header.id }

// Salt is the cluster's salt from the disk's token. ok is false for disks that
// keep it in node_state.json only.
func (d *Device) Salt() (salt keys.MeasurementSalt, ok bool) {
	return d.header.tokens.salt, d.header.tokens.salt.Bytes() != nil
}

// Prove tries key against the keyslot, in memory: nothing is mapped or written.
// It fails with keys.ErrWrongKey if the key does not open the disk. It takes what
// the disk's KDF takes, up to some seconds, and cannot be interrupted. Unlock with
// the key that was proven last does not take that again.
func (d *Device) Prove(key keys.DiskKey) error {
	volumeKey, err := d.volumeKey(key)
	if err != nil {
		return err
	}
	d.proven.Lock()
	defer d.proven.Unlock()
	d.proven.forget()
	d.proven.by, d.proven.volumeKey = key.Clone(), volumeKey
	return nil
}

func (p *proven) forget() {
	p.by.Wipe()
	p.volumeKey.Wipe()
	p.by, p.volumeKey = keys.DiskKey{}, keys.VolumeKey{}
}

// take returns the volume key if it was key that has been proven, and forgets it.
func (p *proven) take(key keys.DiskKey) (keys.VolumeKey, bool) {
	p.Lock()
	defer p.Unlock()
	if p.by.Bytes() == nil || subtle.ConstantTimeCompare(p.by.Bytes(), key.Bytes()) != 1 {
		return keys.VolumeKey{}, false
	}
	volumeKey := keys.NewVolumeKey(p.volumeKey.Bytes())
	p.forget()
	return volumeKey, true
}

func (d *Device) volumeKey(key keys.DiskKey) (keys.VolumeKey, error) {
	if d.area == nil {
		return keys.VolumeKey{}, fmt.Errorf("%s is %v: it has no keyslot", d.path, d.state)
	}
	raw, err := openKeyslot(d.header.metadata, d.area, key)
	if err != nil {
		return keys.VolumeKey{}, err
	}
	defer clear(raw)
	return keys.NewVolumeKey(raw), nil
}
