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
	"disk-mapper/internal/printable"
)

// minSize leaves room for data behind the metadata.
const minSize = metadataSize + 16<<20

// interrupted marks a disk whose format or enrolment has begun and not ended.
// It replaces the first sector, so no header can be found beside it.
const interrupted = "disk-mapper: this disk is being formatted\n"

// Device is a disk as it was found when it was opened.
type Device struct {
	identity
	data   superblock // of a Joined disk
	state  State
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
	judged  identity
}

// Open reads the metadata of the disk at path once and decides what it is. It
// fails with a *Refusal if the disk is nothing that this daemon may touch, and
// with the error of the read if it cannot be read. Nothing is written.
func Open(ctx context.Context, path string) (*Device, error) {
	r, err := Inspect(ctx, path)
	if err != nil {
		return nil, err
	}
	return r.usable()
}

func (r Report) usable() (*Device, error) {
	if r.Refusal != nil {
		return nil, untouched(r.judged.path, r.Refusal)
	}
	return r.Device, nil
}

func untouched(path string, r *Refusal) error {
	return fmt.Errorf("%s is no state disk of ours and was left untouched: %w", path, r)
}

// Inspect is Open for somebody who wants to know everything: a refused disk is
// part of the report. path may be a plain file with the contents of a disk. If it fails
// with a *ReadError, there is no verdict, but the report is still good for Clear.
func Inspect(ctx context.Context, path string) (Report, error) {
	return answered(ctx, path, func() (Report, error) { return inspect(path) })
}

// report is on the disk at judged, which is what s reads.
func (s snapshot) report(judged identity) (Report, error) {
	var l ledger
	d, err := s.verdict(&l)
	judged.first = l.first
	r := Report{Findings: l.findings, Device: d, judged: judged}
	if err != nil && !errors.As(err, &r.Refusal) {
		return r, err
	}
	if d != nil {
		d.identity = judged
	}
	return r, nil
}

// fieldZeros is the rule that a new disk holds nothing.
const fieldZeros = "zeros"

// verdict depends on nothing but what the disk answers, once for each byte.
func (s snapshot) verdict(l *ledger) (*Device, error) {
	if err := l.require("", rule{"size", s.size >= minSize && s.size%512 == 0, s.size, "whole sectors, 32 MiB or more", Foreign}); err != nil {
		return nil, err
	}
	start, err := s.read(0, headersSize)
	if err != nil {
		return nil, err
	}
	first := start[:binarySize]
	l.first = bytes.Clone(first)
	if bytes.HasPrefix(first, []byte(interrupted)) && isZero(first[len(interrupted):]) {
		return &Device{state: Prepared}, l.require("", rule{"first sector", true, words("the mark of an interrupted format"), "that, or a LUKS2 header", 0})
	}
	if string(first[:8]) == primaryMagic+"\x00\x02" {
		return s.luks2(l, start)
	}
	return s.blank(l, start)
}

func (s snapshot) luks2(l *ledger, start []byte) (*Device, error) {
	h, err := l.checkHeaders(start)
	if err != nil {
		return nil, err
	}
	d := &Device{state: Joined, header: h, proven: new(proven)}
	from, to := h.metadata.keyslotArea()
	if d.area, err = s.read(int64(from), int64(to-from)); err != nil {
		return nil, err
	}
	if h.tokens.prepared() {
		d.state = Prepared // and will be formatted, whatever lies behind the header
		return d, nil
	}
	raw, err := s.read(metadataSize, superblockSize)
	if err != nil {
		return nil, err
	}
	b, err := l.checkSuperblock(raw, s.size)
	if err != nil {
		return nil, err
	}
	d.data = b
	return d, nil
}

// checkHeaders takes both copies, so that a report has both.
func (l *ledger) checkHeaders(start []byte) (header, error) {
	var copies [2]header
	var errs [2]error
	for i, c := range headerCopies {
		copies[i], errs[i] = l.parseCopy(start, c)
	}
	if err := cmp.Or(errs[0], errs[1]); err != nil {
		return header{}, err
	}
	return l.checkCopies(copies[0], copies[1])
}

// blank is for disks without a header. What is new is proven by zeros: that no
// signature is known decides nothing, it only gives the refusal its name.
func (s snapshot) blank(l *ledger, start []byte) (*Device, error) {
	t, err := s.search(start)
	if err != nil {
		return nil, err
	}
	found, meaning := t.foreign()
	if err := l.require("", rule{"signature", found == "", words(cmp.Or(printable.Text(found), "none")), "LUKS2, or none", meaning}); err != nil {
		return nil, err
	}
	meaning = Foreign
	if t.beginsWithZeros() {
		meaning = Damaged // as a disk whose first sectors somebody has wiped
	}
	zeros := rule{fieldZeros, t.stray < 0, words("everywhere"), "everywhere", meaning}
	if !zeros.ok {
		zeros.found = words(fmt.Sprintf("something else at byte %d", t.stray))
	}
	if err := l.require("", zeros); err != nil {
		return nil, err
	}
	return &Device{state: Blank}, nil
}

// State is what the disk was found to be.
func (d *Device) State() State { return d.state }

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
	d.proven.keep(key, volumeKey)
	return nil
}

// keep owns volumeKey.
func (p *proven) keep(key keys.DiskKey, volumeKey keys.VolumeKey) {
	p.Lock()
	defer p.Unlock()
	p.forget()
	p.by, p.volumeKey = key.Clone(), volumeKey
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
