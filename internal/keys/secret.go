// Package keys holds the secrets of a node's recovery as types that cannot be
// swapped or printed, the disk ID, and the derivations between them.
//
// Trust boundary: bytes from the wire or a disk become a secret only through
// the New functions here, which insist on the exact length. The package knows
// nothing of where keys come from or what they open.
package keys

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// Size is the length in bytes of every key, secret and salt of a node.
const Size = 32

// ErrLength reports a secret that is not exactly Size bytes long.
var ErrLength = errors.New("wrong length")

// secret is bytes behind pointers: copies of the value share the bytes, so that
// Wipe reaches them all. The zero value holds nothing.
type secret struct{ box *box }

// box is there because fmt follows one pointer, even of an unexported field,
// where a verb does not fit the type. It does not follow two.
type box struct{ bytes *[]byte }

func newSecret(name string, raw []byte) (secret, error) {
	if len(raw) != Size {
		return secret{}, fmt.Errorf("%s: %w: %d bytes, want %d", name, ErrLength, len(raw), Size)
	}
	return hide(bytes.Clone(raw)), nil
}

// hide owns raw.
func hide(raw []byte) secret { return secret{&box{&raw}} }

// Bytes returns the secret itself, not a copy; nil for the zero value.
func (s secret) Bytes() []byte {
	if s.box == nil {
		return nil
	}
	return *s.box.bytes
}

// Wipe overwrites the secret, for every copy of the value.
func (s secret) Wipe() { clear(s.Bytes()) }

// Format prints [secret] for every verb, so that no log or error shows the bytes.
func (secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// MarshalText keeps the bytes out of JSON and other encodings.
func (secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// DiskKey is the LUKS passphrase of a state disk: 32 raw bytes.
type DiskKey struct{ secret }

// NewDiskKey copies raw. It fails with ErrLength unless raw has 32 bytes.
func NewDiskKey(raw []byte) (DiskKey, error) {
	s, err := newSecret("state disk key", raw)
	return DiskKey{s}, err
}

// RandomDiskKey draws a key for a disk that has no cluster yet.
func RandomDiskKey() DiskKey {
	k := make([]byte, Size)
	_, _ = rand.Read(k) // never fails, by its contract
	return DiskKey{hide(k)}
}

// Clone returns a copy that outlives a Wipe of k.
func (k DiskKey) Clone() DiskKey {
	c, _ := NewDiskKey(k.Bytes()) // the zero value stays the zero value
	return c
}

// MeasurementSecret is the cluster's secret from which, with the salt of a
// node, the cluster ID follows.
type MeasurementSecret struct{ secret }

// NewMeasurementSecret copies raw. It fails with ErrLength unless raw has 32 bytes.
func NewMeasurementSecret(raw []byte) (MeasurementSecret, error) {
	s, err := newSecret("measurement secret", raw)
	return MeasurementSecret{s}, err
}

// Clone returns a copy that outlives a Wipe of s.
func (s MeasurementSecret) Clone() MeasurementSecret {
	c, _ := NewMeasurementSecret(s.Bytes())
	return c
}

// MeasurementSalt is the cluster's salt, kept on each node's state disk. It is
// no secret but is not logged either.
type MeasurementSalt struct{ secret }

// NewMeasurementSalt copies raw. It fails with ErrLength unless raw has 32 bytes.
func NewMeasurementSalt(raw []byte) (MeasurementSalt, error) {
	s, err := newSecret("measurement salt", raw)
	return MeasurementSalt{s}, err
}

// ClusterID is what a node extends into its TPM once it belongs to a cluster.
type ClusterID struct{ secret }
