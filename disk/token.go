package disk

import (
	"bytes"
	"encoding/json"

	"disk-mapper/internal/exactjson"
	"disk-mapper/internal/keys"
)

// Token numbers are fixed: the state token at 0 is a published format.
const (
	stateTokenID = "0"
	saltTokenID  = "1"
)

const (
	stateTokenType    = "constellation-state-disk"
	preparedTokenType = "disk-mapper-prepared"
	saltTokenType     = "disk-mapper-salt"
)

// stateToken says whether the disk has joined a cluster. Clusters from v2.10 on
// write it.
type stateToken struct {
	Type        string   `json:"type"`
	Keyslots    []string `json:"keyslots"`
	Initialized bool     `json:"diskIsInitialized"`
}

// preparedToken is for clusters before v2.10, whose nodes join without changing
// any token: the disk is Prepared as long as its keyslot is the one made at
// format, recognised by its salt.
type preparedToken struct {
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
	prepared bool
	salt     keys.MeasurementSalt
}

// parseTokens accepts no token at all (clusters before v2.10), or the state or
// prepared token at 0 and perhaps our salt token at 1.
func parseTokens(m metadata) (tokens, error) {
	var t tokens
	for id, raw := range m.Tokens {
		var err error
		switch id {
		case stateTokenID:
			t.prepared, err = parsePrepared(raw, m.Keyslots["0"])
		case saltTokenID:
			t.salt, err = parseSalt(raw)
		default:
			return tokens{}, refuse("token "+id, "a token", "none with this number")
		}
		if err != nil {
			return tokens{}, refuse("token "+id, err, "a well-formed token of a state disk")
		}
	}
	return t, nil
}

func parsePrepared(raw []byte, k keyslot) (bool, error) {
	if bytes.Contains(raw, []byte(preparedTokenType)) {
		var p preparedToken
		if err := exactjson.Unmarshal(raw, &p); err != nil {
			return false, err
		}
		if p.Type != preparedTokenType || p.Keyslots == nil || len(p.Keyslots) != 0 || len(p.KDFSalt) != saltSize {
			return false, refuse("prepared token", p.Type, preparedTokenType)
		}
		return bytes.Equal(p.KDFSalt, k.KDF.Salt), nil
	}
	var s stateToken
	if err := exactjson.Unmarshal(raw, &s); err != nil {
		return false, err
	}
	if s.Type != stateTokenType || s.Keyslots == nil || len(s.Keyslots) != 0 {
		return false, refuse("state token", s.Type, stateTokenType)
	}
	return !s.Initialized, nil
}

func parseSalt(raw []byte) (keys.MeasurementSalt, error) {
	var s saltToken
	if err := exactjson.Unmarshal(raw, &s); err != nil {
		return keys.MeasurementSalt{}, err
	}
	if s.Type != saltTokenType || s.Keyslots == nil || len(s.Keyslots) != 0 {
		return keys.MeasurementSalt{}, refuse("salt token", s.Type, saltTokenType)
	}
	return keys.NewMeasurementSalt(s.Salt)
}

// Marker says how a disk that we format shows that it has not joined yet.
type Marker int

const (
	// MarkByToken writes the state token, which the cluster's bootstrapper sets
	// when the node has joined (v2.10 and later).
	MarkByToken Marker = iota + 1
	// MarkByKeyslot is for bootstrappers that only change the key.
	MarkByKeyslot
)

func (m Marker) token(k keyslot) json.RawMessage {
	if m == MarkByKeyslot {
		return encodeToken(preparedToken{preparedTokenType, []string{}, k.KDF.Salt})
	}
	return encodeToken(stateToken{stateTokenType, []string{}, false})
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
