package keys

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"

	"disk-mapper/internal/printable"
)

// ErrDiskID reports a string that is not a canonical UUID.
var ErrDiskID = errors.New("not a canonical lower-case UUID")

// DiskID is the LUKS UUID of a state disk. Only the canonical lower-case form
// exists: other strings would name other keys of the cluster, because the name
// of a disk key and of any other key share one name space.
type DiskID struct{ uuid string }

var canonicalUUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ParseDiskID fails with ErrDiskID for anything but a canonical UUID.
func ParseDiskID(s string) (DiskID, error) {
	if !canonicalUUID.MatchString(s) {
		return DiskID{}, fmt.Errorf("disk UUID %s: %w", printable.Quote(s), ErrDiskID)
	}
	return DiskID{s}, nil
}

// NewDiskID draws a random (version 4) UUID.
func NewDiskID() DiskID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return DiskID{fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])}
}

// String returns the canonical form; empty for the zero value.
func (d DiskID) String() string { return d.uuid }
