package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"

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
}

// headerCopies says where each of the two copies lies and how it is marked.
var headerCopies = []struct {
	name   string
	magic  string
	offset int
}{
	{"primary header", primaryMagic, 0},
	{"secondary header", secondaryMagic, headerSize},
}

// parseCopy checks one copy of the header, binary part and JSON.
func parseCopy(raw []byte, name, magic string, offset int) (header, error) {
	var b binaryHeader
	if _, err := binary.Decode(raw, binary.BigEndian, &b); err != nil {
		return header{}, refuse(name, err, "a LUKS2 binary header")
	}
	id, err := keys.ParseDiskID(text(b.UUID[:]))
	for _, check := range []struct {
		ok    bool
		field string
		found any
		want  any
	}{
		{string(b.Magic[:]) == magic, "magic", string(b.Magic[:]), magic},
		{b.Version == 2, "version", b.Version, 2},
		{b.Size == headerSize, "hdr_size", b.Size, headerSize},
		{b.Offset == uint64(offset), "hdr_offset", b.Offset, offset},
		{text(b.CsumAlg[:]) == checksumName, "csum_alg", text(b.CsumAlg[:]), checksumName},
		{checksum(raw) == [32]byte(b.Csum[:32]) && isZero(b.Csum[32:]), "checksum", "another value", "the SHA-256 of the header"},
		{b.SeqID != 0 && b.SeqID < maxSeqID, "seqid", b.SeqID, "1 or more, and far from the largest"},
		{isZero(b.Label[:]), "label", text(b.Label[:]), ""},
		{isZero(b.Subsystem[:]), "subsystem", text(b.Subsystem[:]), ""},
		{err == nil, "uuid", text(b.UUID[:]), "a canonical lower-case UUID"},
		{isZero(b.Padding[:]) && isZero(b.Padding4K[:]), "padding", "data", "zeros"},
	} {
		if !check.ok {
			return header{}, refuse(name+" "+check.field, check.found, check.want)
		}
	}
	m, err := parseMetadata(raw[binarySize:headerSize], name)
	return header{id: id, seqID: b.SeqID, salt: b.Salt, metadata: m}, err
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

func isZero(b []byte) bool { return strings.Trim(string(b), "\x00") == "" }
