package disk

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"
)

// Token numbers are fixed: the state token at 0 is a published format.
const (
	stateTokenID  = "0"
	saltTokenID   = "1"
	formatTokenID = "2"
)

const (
	stateTokenType  = "constellation-state-disk"
	saltTokenType   = "disk-mapper-salt"
	formatTokenType = "disk-mapper-format"
)

// stateToken says whether the disk has joined a cluster. Bootstrappers from
// v2.10 on set it.
type stateToken struct {
	Type        string   `json:"type"`
	Keyslots    []string `json:"keyslots"`
	Initialized bool     `json:"diskIsInitialized"`
}

// formatToken names the keyslot that the disk was formatted with, by its salt.
// Bootstrappers before v2.10 join without touching the state token, but they
// cannot change the key without a new salt.
type formatToken struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"`
	KDFSalt  []byte   `json:"kdf_salt"`
}

// saltToken carries the cluster's salt, so that the cluster ID can be measured
// before anything parses the file system.
type saltToken struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"`
	Salt     []byte   `json:"salt"`
}

// tokens is what all tokens of a header say together.
type tokens struct {
	uninitialized bool // by the state token
	rekeyed       bool // since the format
	salt          keys.MeasurementSalt
}

// prepared is for disks that nothing has joined since they were formatted. A
// disk without a state token has joined a cluster before v2.10.
func (t tokens) prepared() bool { return t.uninitialized && !t.rekeyed }

// parseTokens accepts the tokens that a state disk can have, each at its number.
func (l *ledger) parseTokens(m metadata, name string) (tokens, error) {
	var t tokens
	for _, id := range slices.Sorted(maps.Keys(m.Tokens)) {
		place := name + " token " + printable.Text(id)
		var err error
		switch raw := m.Tokens[id]; id {
		case stateTokenID:
			err = l.parseState(place, raw, &t)
		case saltTokenID:
			err = l.parseSalt(place, raw, &t)
		case formatTokenID:
			err = l.parseFormat(place, raw, m.Keyslots["0"], &t)
		default:
			err = l.require(place, rule{"number", false, id, "0, 1 or 2", Foreign})
		}
		if err != nil {
			return tokens{}, err
		}
	}
	return t, l.require(name, holds("tokens", t.consistent(m.Tokens), "a salt, beside the mark of a disk that has not joined", "the tokens of one state of a disk", Tampered))
}

// consistent: whoever writes the salt token has joined, and says so in the same
// write.
func (t tokens) consistent(all map[string]json.RawMessage) bool {
	_, salted := all[saltTokenID]
	_, formatted := all[formatTokenID]
	_, stated := all[stateTokenID]
	return !salted || stated && !formatted && !t.uninitialized
}

// Origin says who has written the header; empty if there is none.
func (d *Device) Origin() string {
	all := d.header.metadata.Tokens
	_, stated := all[stateTokenID]
	_, salted := all[saltTokenID]
	_, formatted := all[formatTokenID]
	switch {
	case d.area == nil:
		return ""
	case salted:
		return "disk-mapper, format and enrolment"
	case formatted && d.header.tokens.rekeyed:
		return "disk-mapper, then a bootstrapper of v2.x"
	case formatted:
		return "disk-mapper, format"
	case stated:
		return "Constellation v2.10 to v2.24"
	}
	return "Constellation v2.0 to v2.9"
}

func (l *ledger) parseState(place string, raw []byte, t *tokens) error {
	var s stateToken
	if err := l.exactly(place, raw, &s); err != nil {
		return err
	}
	t.uninitialized = !s.Initialized
	return l.require(place, tokenRules(s.Type, stateTokenType, s.Keyslots)...)
}

func (l *ledger) parseSalt(place string, raw []byte, t *tokens) error {
	var s saltToken
	if err := l.exactly(place, raw, &s); err != nil {
		return err
	}
	var err error
	t.salt, err = keys.NewMeasurementSalt(s.Salt)
	return l.require(place, append(tokenRules(s.Type, saltTokenType, s.Keyslots),
		rule{"salt length", err == nil, len(s.Salt), keys.Size, Tampered})...)
}

func (l *ledger) parseFormat(place string, raw []byte, k keyslot, t *tokens) error {
	var f formatToken
	if err := l.exactly(place, raw, &f); err != nil {
		return err
	}
	t.rekeyed = !bytes.Equal(f.KDFSalt, k.KDF.Salt)
	return l.require(place, append(tokenRules(f.Type, formatTokenType, f.Keyslots),
		equals("kdf_salt length", len(f.KDFSalt), saltSize, Tampered))...)
}

// tokenRules: the type decides what a token means, and none of ours is for
// unlocking a keyslot.
func tokenRules(found, want string, keyslots []string) []rule {
	return []rule{
		equals("type", found, want, Tampered),
		equals("keyslots", strings.Join(keyslots, ","), "", Tampered),
	}
}

// formattedTokens are the tokens of a disk that was just formatted.
func formattedTokens(k keyslot) map[string]json.RawMessage {
	return map[string]json.RawMessage{
		stateTokenID:  encodeToken(stateToken{stateTokenType, []string{}, false}),
		formatTokenID: encodeToken(formatToken{formatTokenType, []string{}, k.KDF.Salt}),
	}
}

// joinedTokens are the tokens of a disk that we enrolled.
func joinedTokens(salt keys.MeasurementSalt) map[string]json.RawMessage {
	return map[string]json.RawMessage{
		stateTokenID: encodeToken(stateToken{stateTokenType, []string{}, true}),
		saltTokenID:  encodeToken(saltToken{saltTokenType, []string{}, salt.Bytes()}),
	}
}

func encodeToken(token any) json.RawMessage {
	raw, _ := json.Marshal(token) // plain structs of this file
	return raw
}
