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
	"runtime"
	"sync/atomic"
)

// Size is the length in bytes of every key, secret and salt of a node.
const Size = 32

// ErrLength reports a secret that is not exactly Size bytes long.
var ErrLength = errors.New("wrong length")

// secret is bytes behind pointers: copies of the value share the bytes, so that
// Wipe reaches them all. The zero value holds nothing. The bytes are in locked
// memory and stay there for good if nobody wipes them: a slice from Bytes does
// not keep their place, and must not lose it.
type secret struct{ box *box }

// box is there because fmt follows one pointer, even of an unexported field,
// where a verb does not fit the type. It does not follow two.
type box struct {
	bytes *[]byte
	home  *memory // takes the bytes back; nil if they are no secret
	wiped atomic.Bool
}

func newSecret(name string, raw []byte) (secret, error) {
	if len(raw) != Size {
		return secret{}, wrongLength(name, raw)
	}
	return hide(raw), nil
}

func wrongLength(name string, raw []byte) error {
	return fmt.Errorf("%s: %w: %d bytes, want %d", name, ErrLength, len(raw), Size)
}

// hide copies raw.
func hide(raw []byte) secret {
	s := allocate(len(raw))
	copy(s.Bytes(), raw)
	return s
}

func allocate(n int) secret {
	place := vault.take(n)
	return secret{&box{bytes: &place, home: &vault}}
}

// Bytes returns the secret itself, not a copy; nil for the zero value. What it
// returned must not be used after a Wipe: ask again, then there are zeros.
func (s secret) Bytes() []byte {
	if s.box == nil {
		return nil
	}
	return *s.box.bytes
}

// Wipe overwrites the secret, for every copy of the value. Its place is used
// again once there is no copy left.
func (s secret) Wipe() {
	clear(s.Bytes())
	if s.box != nil && s.box.home != nil && !s.box.wiped.Swap(true) {
		runtime.AddCleanup(s.box, s.box.home.giveBack, *s.box.bytes)
	}
}

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
	k := allocate(Size)
	_, _ = rand.Read(k.Bytes()) // never fails, by its contract
	return DiskKey{k}
}

// Clone returns a copy that outlives a Wipe of k.
func (k DiskKey) Clone() DiskKey {
	c, _ := NewDiskKey(k.Bytes()) // the zero value stays the zero value
	return c
}

// VolumeKey is what encrypts and authenticates the data of a state disk. Its
// length is up to the disk.
type VolumeKey struct{ secret }

// NewVolumeKey copies raw.
func NewVolumeKey(raw []byte) VolumeKey { return VolumeKey{hide(raw)} }

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
// no secret but is not logged either. It is in ordinary memory.
type MeasurementSalt struct{ secret }

// NewMeasurementSalt copies raw. It fails with ErrLength unless raw has 32 bytes.
func NewMeasurementSalt(raw []byte) (MeasurementSalt, error) {
	if len(raw) != Size {
		return MeasurementSalt{}, wrongLength("measurement salt", raw)
	}
	own := bytes.Clone(raw)
	return MeasurementSalt{secret{&box{bytes: &own}}}, nil
}

// ClusterID is what a node extends into its TPM once it belongs to a cluster.
type ClusterID struct{ secret }
