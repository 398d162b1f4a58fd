package keys

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Least lengths of the two parts of a master secret, as the clusters' own key
// service demands them.
const (
	MinMasterKey  = 16
	MinMasterSalt = 32
)

// MasterSecret is the root of all keys of one cluster, kept by its operator.
type MasterSecret struct{ key, salt secret }

// NewMasterSecret copies key and salt. It fails with ErrLength if either is
// shorter than MinMasterKey or MinMasterSalt.
func NewMasterSecret(key, salt []byte) (MasterSecret, error) {
	if len(key) < MinMasterKey {
		return MasterSecret{}, fmt.Errorf("master key: %w: %d bytes, want at least %d", ErrLength, len(key), MinMasterKey)
	}
	if len(salt) < MinMasterSalt {
		return MasterSecret{}, fmt.Errorf("master salt: %w: %d bytes, want at least %d", ErrLength, len(salt), MinMasterSalt)
	}
	return MasterSecret{hide(key), hide(salt)}, nil
}

// ParseMasterSecret reads the JSON file {"key": base64, "salt": base64} that
// operators keep. No part of the file appears in an error.
func ParseMasterSecret(file []byte) (MasterSecret, error) {
	var parts struct{ Key, Salt []byte }
	if err := json.Unmarshal(file, &parts); err != nil {
		return MasterSecret{}, errors.New(`not a master secret file: want JSON {"key": base64, "salt": base64}`)
	}
	defer clear(parts.Key)
	return NewMasterSecret(parts.Key, parts.Salt)
}

// Wipe overwrites the master secret.
func (m MasterSecret) Wipe() { m.key.Wipe(); m.salt.Wipe() }

// Format prints [secret] for every verb.
func (MasterSecret) Format(f fmt.State, r rune) { secret{}.Format(f, r) }

// DiskKey derives the key of one state disk.
func (m MasterSecret) DiskKey(disk DiskID) (DiskKey, error) {
	if disk == (DiskID{}) {
		return DiskKey{}, fmt.Errorf("deriving a disk key: %w", ErrDiskID)
	}
	s, err := derive(m.key.Bytes(), m.salt.Bytes(), disk.String())
	return DiskKey{s}, err
}

// MeasurementSecret derives the cluster's measurement secret.
func (m MasterSecret) MeasurementSecret() (MeasurementSecret, error) {
	s, err := derive(m.key.Bytes(), m.salt.Bytes(), "measurementSecret")
	return MeasurementSecret{s}, err
}

// Pair derives what a restarted node needs for the disk.
func (m MasterSecret) Pair(disk DiskID) (Pair, error) {
	key, err := m.DiskKey(disk)
	if err != nil {
		return Pair{}, err
	}
	measurement, err := m.MeasurementSecret()
	if err != nil {
		key.Wipe()
		return Pair{}, err
	}
	return Pair{Disk: key, Measurement: measurement}, nil
}

// NewClusterID derives the cluster ID from the secret of the cluster and the
// salt found on the node's disk.
func NewClusterID(s MeasurementSecret, salt MeasurementSalt) (ClusterID, error) {
	if s.Bytes() == nil || salt.Bytes() == nil {
		return ClusterID{}, fmt.Errorf("deriving the cluster ID: %w: secret or salt is empty", ErrLength)
	}
	id, err := derive(s.Bytes(), salt.Bytes(), "clusterID")
	return ClusterID{id}, err
}

// derive is HKDF-SHA256 with the prefix that every published key name carries.
func derive(key, salt []byte, name string) (secret, error) {
	if len(key) == 0 {
		return secret{}, fmt.Errorf("deriving %s: %w: empty key", name, ErrLength)
	}
	pseudorandom, err := hkdf.Extract(sha256.New, key, salt)
	defer clear(pseudorandom)
	if err != nil {
		return secret{}, fmt.Errorf("deriving %s: %w", name, err)
	}
	raw, err := hkdf.Expand(sha256.New, pseudorandom, "key-"+name, Size)
	defer clear(raw)
	if err != nil {
		return secret{}, fmt.Errorf("deriving %s: %w", name, err)
	}
	return hide(raw), nil
}

// ParseClusterID reads 64 hexadecimal digits, in either case. It fails with ErrLength
// if they are more or fewer.
func ParseClusterID(digits string) (ClusterID, error) {
	raw, err := hex.DecodeString(digits)
	switch {
	case len(digits) != 2*Size:
		return ClusterID{}, fmt.Errorf("%w: cluster ID has %d characters, want %d hexadecimal digits", ErrLength, len(digits), 2*Size)
	case err != nil:
		return ClusterID{}, fmt.Errorf("cluster ID: want %d hexadecimal digits: %w", 2*Size, err)
	}
	return ClusterID{hide(raw)}, nil
}
