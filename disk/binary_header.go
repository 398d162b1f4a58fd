package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"disk-mapper/internal/keys"
)

// Sizes and offsets of the LUKS2 on-disk format, specification 1.0.0, in
// bytes. All generations of clusters use cryptsetup's default header size.
const (
	binarySize   = 4096  // a binary header with its padding
	headerSize   = 16384 // a binary header and its JSON area
	jsonSize     = headerSize - binarySize
	headersSize  = 2 * headerSize // both copies
	metadataSize = 16 << 20       // everything before the data segment
	keyslotsSize = metadataSize - headersSize
)

// maxSeqID leaves room to count on: a header's seqid grows by one with each change.
const maxSeqID = 1 << 63

const (
	primaryMagic   = "LUKS\xba\xbe"
	secondaryMagic = "SKUL\xba\xbe"
	checksumName   = "sha256"
)

// binaryHeader is struct luks2_hdr_disk, big-endian.
type binaryHeader struct {
	Magic     [6]byte
	Version   uint16
	Size      uint64
	SeqID     uint64
	Label     [48]byte
	CsumAlg   [32]byte
	Salt      [64]byte
	UUID      [40]byte
	Subsystem [48]byte
	Offset    uint64
	Padding   [184]byte
	Csum      [64]byte
	Padding4K [7 * 512]byte
}

// header is one checked copy: what varies between the headers we accept.
type header struct {
	id       keys.DiskID
	seqID    uint64
	salt     [64]byte
	metadata metadata
	tokens   tokens // of metadata, parsed
}

// headerCopy says where a copy of the header lies and how it is marked.
type headerCopy struct {
	name   string
	magic  string
	offset int
}

var headerCopies = []headerCopy{
	{"primary header", primaryMagic, 0},
	{"secondary header", secondaryMagic, headerSize},
}

// parseCopy checks one copy of the header, binary part and JSON.
func (l *ledger) parseCopy(head []byte, c headerCopy) (header, error) {
	raw := head[c.offset : c.offset+headerSize]
	var b binaryHeader
	if _, err := binary.Decode(raw, binary.BigEndian, &b); err != nil {
		return header{}, fmt.Errorf("decoding the %s: %w", c.name, err) // cannot happen: the size is constant
	}
	if err := l.require(c.name, b.rules(raw, c)...); err != nil {
		return header{}, err
	}
	h := header{seqID: b.SeqID, salt: b.Salt}
	h.id, _ = keys.ParseDiskID(text(b.UUID[:])) // by the rules
	var err error
	if h.metadata, err = l.parseMetadata(raw[binarySize:], c.name); err != nil {
		return header{}, err
	}
	h.tokens, err = l.parseTokens(h.metadata, c.name)
	return h, err
}

func (b *binaryHeader) rules(raw []byte, c headerCopy) []rule {
	_, idErr := keys.ParseDiskID(text(b.UUID[:]))
	sum := checksum(raw)
	return []rule{
		equals("magic", string(b.Magic[:]), c.magic, Damaged),
		equals("version", b.Version, uint16(2), Unsupported),
		equals("hdr_size", b.Size, uint64(headerSize), Foreign),
		equals("hdr_offset", b.Offset, uint64(c.offset), Damaged),
		equals("csum_alg", text(b.CsumAlg[:]), checksumName, Foreign),
		{"checksum", sum == [32]byte(b.Csum[:32]) && isZero(b.Csum[32:]), words(fmt.Sprintf("%x...", b.Csum[:8])), fmt.Sprintf("%x...", sum[:8]), Damaged},
		{"seqid", b.SeqID != 0 && b.SeqID < maxSeqID, b.SeqID, "1 or more, and far from the largest", Tampered},
		{"label", isZero(b.Label[:]), text(b.Label[:]), "", Foreign},
		{"subsystem", isZero(b.Subsystem[:]), text(b.Subsystem[:]), "", Foreign},
		{"uuid", idErr == nil, text(b.UUID[:]), "a canonical lower-case UUID", Tampered},
		holds("padding", isZero(b.Padding[:]) && isZero(b.Padding4K[:]), "data", "zeros", Tampered),
	}
}

// encode writes one copy from checked values only.
func (h header) encode(magic string, offset int) ([]byte, error) {
	b := binaryHeader{Version: 2, Size: headerSize, SeqID: h.seqID, Salt: h.salt, Offset: uint64(offset)}
	copy(b.Magic[:], magic)
	copy(b.CsumAlg[:], checksumName)
	copy(b.UUID[:], h.id.String())
	raw := make([]byte, headerSize)
	json, err := h.metadata.encode()
	if err != nil {
		return nil, err
	}
	copy(raw[binarySize:], json)
	if _, err := binary.Encode(raw, binary.BigEndian, &b); err != nil {
		return nil, err
	}
	sum := checksum(raw)
	copy(raw[checksumOffset:], sum[:])
	return raw, nil
}

const checksumOffset = 448

// checksum is taken with the checksum field itself zero.
func checksum(raw []byte) [32]byte {
	h := sha256.New()
	h.Write(raw[:checksumOffset])
	h.Write(make([]byte, 64))
	h.Write(raw[checksumOffset+64 : headerSize])
	return [32]byte(h.Sum(nil))
}

// text reads a field that must be NUL-terminated and NUL-padded; anything else
// comes back with its NULs, so that it equals no legal value.
func text(field []byte) string {
	s := string(bytes.TrimRight(field, "\x00"))
	if len(s) == len(field) {
		return s + "\x00(unterminated)"
	}
	return s
}

func isZero(b []byte) bool { return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }
