package disk

import (
	"bytes"
	"encoding/json"

	"disk-mapper/internal/exactjson"
	"disk-mapper/internal/keys"
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
func parseTokens(m metadata) (tokens, error) {
	var t tokens
	for id, raw := range m.Tokens {
		var err error
		switch id {
		case stateTokenID:
			t.uninitialized, err = parseState(raw)
		case saltTokenID:
			t.salt, err = parseSalt(raw)
		case formatTokenID:
			t.rekeyed, err = parseFormat(raw, m.Keyslots["0"])
		default:
			return tokens{}, refuse("token "+id, "a token", "none with this number")
		}
		if err != nil {
			return tokens{}, refuse("token "+id, err, "a well-formed token of a state disk")
		}
	}
	return t, nil
}

func parseState(raw []byte) (uninitialized bool, err error) {
	var s stateToken
	if err := exactjson.Unmarshal(raw, &s); err != nil {
		return false, err
	}
	return !s.Initialized, checkToken(s.Type, stateTokenType, s.Keyslots)
}

func parseSalt(raw []byte) (keys.MeasurementSalt, error) {
	var s saltToken
	if err := exactjson.Unmarshal(raw, &s); err != nil {
		return keys.MeasurementSalt{}, err
	}
	if err := checkToken(s.Type, saltTokenType, s.Keyslots); err != nil {
		return keys.MeasurementSalt{}, err
	}
	return keys.NewMeasurementSalt(s.Salt)
}

func parseFormat(raw []byte, k keyslot) (rekeyed bool, err error) {
	var f formatToken
	if err := exactjson.Unmarshal(raw, &f); err != nil {
		return false, err
	}
	return !bytes.Equal(f.KDFSalt, k.KDF.Salt), checkToken(f.Type, formatTokenType, f.Keyslots)
}

// checkToken: the type decides what a token means, and none of ours is for
// unlocking a keyslot.
func checkToken(found, want string, keyslots []string) error {
	if found != want {
		return refuse("type", found, want)
	}
	if len(keyslots) != 0 {
		return refuse("keyslots", len(keyslots), 0)
	}
	return nil
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
