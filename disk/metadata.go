package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"disk-mapper/internal/exactjson"
)

// metadata is the JSON area, with exactly the members that our headers have.
type metadata struct {
	Keyslots map[string]keyslot         `json:"keyslots"`
	Tokens   map[string]json.RawMessage `json:"tokens"`
	Segments map[string]segment         `json:"segments"`
	Digests  map[string]digest          `json:"digests"`
	Config   config                     `json:"config"`
}

type keyslot struct {
	Type    string `json:"type"`
	KeySize int    `json:"key_size"`
	AF      af     `json:"af"`
	Area    area   `json:"area"`
	KDF     kdf    `json:"kdf"`
}

type af struct {
	Type    string `json:"type"`
	Stripes int    `json:"stripes"`
	Hash    string `json:"hash"`
}

type area struct {
	Type       string `json:"type"`
	Offset     string `json:"offset"`
	Size       string `json:"size"`
	Encryption string `json:"encryption"`
	KeySize    int    `json:"key_size"`
}

// kdf has the members of argon2id first; the others are those of pbkdf2, known
// only so that the refusal can name the kind.
type kdf struct {
	Type       string `json:"type"`
	Time       uint32 `json:"time,omitempty"`
	Memory     uint32 `json:"memory,omitempty"`
	CPUs       uint32 `json:"cpus,omitempty"`
	Hash       string `json:"hash,omitempty"`
	Iterations uint32 `json:"iterations,omitempty"`
	Salt       []byte `json:"salt"`
}

type segment struct {
	Type       string     `json:"type"`
	Offset     string     `json:"offset"`
	Size       string     `json:"size"`
	IVTweak    string     `json:"iv_tweak"`
	Encryption string     `json:"encryption"`
	SectorSize int        `json:"sector_size"`
	Integrity  *integrity `json:"integrity,omitempty"`
}

type integrity struct {
	Type              string `json:"type"`
	JournalEncryption string `json:"journal_encryption"`
	JournalIntegrity  string `json:"journal_integrity"`
	KeySize           int    `json:"key_size,omitempty"` // written by cryptsetup 2.8 and later
}

type digest struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations uint32   `json:"iterations"`
	Salt       []byte   `json:"salt"`
	Digest     []byte   `json:"digest"`
}

type config struct {
	JSONSize     string `json:"json_size"`
	KeyslotsSize string `json:"keyslots_size"`
}

// The one layout that is accepted, and what varies within it.
const (
	volumeKeySize = 96 // AES-256-XTS and HMAC-SHA-256
	areaKeySize   = 64
	afStripes     = 4000
	sectorSize    = 4096
	areaSize      = (volumeKeySize*afStripes + 4095) / 4096 * 4096
	saltSize      = 32
	digestSize    = 32
	integritySize = 32

	// Bounds on what one try of a key may cost: about 8 s. Clusters benchmarked
	// argon2id for 2 s at 64 MiB; cryptsetup's own default goes to 1 GiB. Memory
	// times passes is what costs time, but for little memory the passes alone do.
	maxKDFMemory    = 1 << 20 // KiB
	maxKDFCPUs      = 4
	maxKDFWork      = 1 << 24 // KiB times passes
	maxKDFTime      = 4096
	minDigestRounds = 1000
	maxDigestRounds = 2_000_000
)

// parseMetadata checks the JSON area: text, then NULs to the end.
func parseMetadata(raw []byte, name string) (metadata, error) {
	text, padding, terminated := bytes.Cut(raw, []byte{0})
	if !terminated || !isZero(padding) {
		return metadata{}, refuse(name+" JSON area", "no NUL, or data after it", "NUL-padded JSON")
	}
	var m metadata
	if err := exactjson.Unmarshal(text, &m); err != nil {
		return metadata{}, refuse(name+" JSON", err, "exactly the members of a state disk")
	}
	if err := m.check(); err != nil {
		var r *Refusal
		if errors.As(err, &r) {
			r.Field = name + " " + r.Field
		}
		return metadata{}, err
	}
	return m, nil
}

func (m metadata) encode() ([]byte, error) {
	raw, err := json.Marshal(m)
	if err == nil && len(raw) >= jsonSize {
		err = fmt.Errorf("header JSON has %d bytes, the area holds %d", len(raw), jsonSize-1)
	}
	return raw, err
}

// newMetadata is the header of a disk that we format.
func newMetadata(k keyslot, d digest) metadata {
	return metadata{
		Keyslots: map[string]keyslot{"0": k},
		Tokens:   formattedTokens(k),
		Segments: map[string]segment{"0": {
			Type: "crypt", Offset: strconv.Itoa(metadataSize), Size: "dynamic", IVTweak: "0",
			Encryption: "aes-xts-plain64", SectorSize: sectorSize,
			Integrity: &integrity{Type: "hmac(sha256)", JournalEncryption: "none", JournalIntegrity: "none"},
		}},
		Digests: map[string]digest{"0": d},
		Config:  config{JSONSize: strconv.Itoa(jsonSize), KeyslotsSize: strconv.Itoa(keyslotsSize)},
	}
}

// keyslotArea is where the keyslot's material lies, as offsets into the metadata.
func (m metadata) keyslotArea() (from, to int) {
	from, _ = strconv.Atoi(m.Keyslots["0"].Area.Offset) // checked
	return from, from + areaSize
}
