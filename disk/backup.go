package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"
)

// A header backup is a file of three parts: the first 16 MiB of the disk (both headers
// and the keyslot area), the 4096 bytes of dm-integrity's superblock behind them, and a
// block of text that says whose they are, filled up with NULs. The first part alone is what
// cryptsetup luksHeaderBackup writes, and luksHeaderRestore takes the file as it is.
const (
	regionSize      = metadataSize + superblockSize
	descriptionSize = 4096
	backupSize      = regionSize + descriptionSize
	backupMagic     = "disk-mapper header backup 1\n"
)

// ErrNoBackup is for a file that is no header backup.
var ErrNoBackup = errors.New("not a header backup")

// Backup is a header that was kept outside of its disk. Its Device is as the disk was:
// keys can be proven against it.
type Backup struct {
	*Device
	// Complete is false for a file of cryptsetup luksHeaderBackup, which lacks
	// dm-integrity's superblock and the size of the disk.
	Complete bool
	// Size is that of the disk, in bytes; 0 if it is not known.
	Size   int64
	region []byte // with the superblock if it is complete
}

// KeyslotLost reports whether the keyslot is nothing but zeros, so that no key opens the
// disk with this header.
func (b *Backup) KeyslotLost() bool { return isZero(b.area) }

// SeqID grows with each change of the header.
func (d *Device) SeqID() uint64 { return d.header.seqID }

// ReadHeader takes the backup of the disk at path, which must be Joined. It may be
// mapped: nothing changes its header then.
func ReadHeader(ctx context.Context, path string) (*Backup, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("measuring %s: %w", path, err)
	}
	region, err := answered(ctx, path, func() ([]byte, error) {
		region := make([]byte, regionSize)
		_, err := f.ReadAt(region, 0)
		return region, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the header of %s: %w", path, err)
	}
	d, err := judged(region, size)
	if err != nil {
		return nil, fmt.Errorf("header of %s: %w", path, err)
	}
	d.path = path
	return &Backup{Device: d, Complete: true, Size: size, region: region}, nil
}

// judged is the verdict on a disk of this size that begins with region: the same
// that the daemon comes to.
func judged(region []byte, size int64) (*Device, error) {
	r, err := snapshot{startOf(region), size}.report(identity{node: node{size: size}})
	switch {
	case err != nil:
		return nil, err
	case r.Refusal != nil:
		return nil, r.Refusal
	case r.Device.State() != Joined:
		return nil, fmt.Errorf("the disk is %v: only the header of a disk that has joined a cluster is worth keeping", r.Device.State())
	}
	return r.Device, nil
}

// startOf is a disk that has these bytes at its start, and zeros behind them.
type startOf []byte

func (s startOf) ReadAt(b []byte, at int64) (int, error) {
	clear(b)
	if at < int64(len(s)) {
		copy(b, s[at:])
	}
	return len(b), nil
}

// Encode returns the contents of the file.
func (b *Backup) Encode() []byte {
	file := make([]byte, backupSize)
	copy(file, b.region)
	copy(file[regionSize:], b.description())
	return file
}

func (b *Backup) description() string {
	text := fmt.Sprintf("%suuid %s\nsize %d\nseqid %d\n", backupMagic, b.ID(), b.Size, b.SeqID())
	return fmt.Sprintf("%ssha256 %s\n", text, b.checksum(text))
}

// ReadBackup reads the file at path: one of ours, or of cryptsetup luksHeaderBackup. It
// fails with ErrNoBackup if it is neither, and with the reason if it is one that cannot be used.
func ReadBackup(ctx context.Context, path string) (*Backup, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() != backupSize && info.Size() != metadataSize {
		return nil, fmt.Errorf("%s: %w: a file of %d bytes is wanted, or of %d from cryptsetup luksHeaderBackup", path, ErrNoBackup, backupSize, metadataSize)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b, err := parseBackup(raw)
	if err != nil {
		return nil, fmt.Errorf("header backup %s: %w", path, err)
	}
	b.path = path
	return b, nil
}

func parseBackup(raw []byte) (*Backup, error) {
	switch {
	case len(raw) == backupSize && bytes.HasPrefix(raw[regionSize:], []byte(backupMagic)):
		return parseOurs(raw)
	case len(raw) == metadataSize && string(raw[:8]) == primaryMagic+"\x00\x02":
		return parseCryptsetups(raw)
	}
	return nil, ErrNoBackup
}

func parseOurs(raw []byte) (*Backup, error) {
	b := &Backup{Complete: true, region: raw[:regionSize]}
	text, _, _ := strings.Cut(string(raw[regionSize:]), "\x00")
	var uuid, sum string
	var seqID uint64
	if _, err := fmt.Sscanf(text, backupMagic+"uuid %s\nsize %d\nseqid %d\nsha256 %s\n", &uuid, &b.Size, &seqID, &sum); err != nil {
		return nil, fmt.Errorf("its description is damaged: %w", printable.Error(err))
	}
	if b.Size < minSize {
		return nil, fmt.Errorf("its description is damaged: a disk of %d bytes, want %d or more", b.Size, minSize)
	}
	if sum != b.checksum(text[:max(0, strings.Index(text, "sha256 "))]) {
		return nil, errors.New("its checksum does not fit what is in it: it is damaged")
	}
	var err error
	if b.Device, err = judged(b.region, b.Size); err != nil {
		return nil, err
	}
	if want := b.description(); text != want || !isZero(raw[regionSize+len(want):]) {
		return nil, errors.New("its description is not that of the header in it")
	}
	return b, nil
}

// checksum is over the region and what the description says before it.
func (b *Backup) checksum(text string) string {
	h := sha256.New()
	h.Write(b.region)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// parseCryptsetups takes a file without superblock.
func parseCryptsetups(raw []byte) (*Backup, error) {
	h, err := new(ledger).checkHeaders(raw)
	if err != nil {
		return nil, err
	}
	if h.tokens.prepared() {
		return nil, fmt.Errorf("the disk was %v: only the header of a disk that has joined a cluster is worth keeping", Prepared)
	}
	from, to := h.metadata.keyslotArea()
	d := &Device{state: Joined, header: h, area: bytes.Clone(raw[from:to]), proven: new(proven)}
	return &Backup{Device: d, region: raw}, nil
}

// Opens proves that the master secret opens the disk, in memory. It fails with
// keys.ErrWrongKey if it does not.
func (d *Device) Opens(master keys.MasterSecret) error {
	key, err := master.DiskKey(d.ID())
	if err != nil {
		return err
	}
	defer key.Wipe()
	return d.Prove(key)
}
