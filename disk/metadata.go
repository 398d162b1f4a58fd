package disk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
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

// parseMetadata checks the JSON area: text, then NULs to the end.
func (l *ledger) parseMetadata(raw []byte, name string) (metadata, error) {
	text, padding, terminated := bytes.Cut(raw, []byte{0})
	if err := l.require(name, holds("JSON area", terminated && isZero(padding), "something else", "JSON, then NULs to the end", Tampered)); err != nil {
		return metadata{}, err
	}
	var m metadata
	if err := l.exactly(name, text, &m); err != nil {
		return metadata{}, err
	}
	return m, l.require(name, m.rules()...)
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
