package attestation

import (
	"errors"
	"fmt"
	"strings"

	"disk-mapper/internal/printable"
)

// ErrProfile reports a name that is no compatibility profile.
var ErrProfile = errors.New("unknown compatibility profile")

// Profile is a generation of clusters to be compatible with.
type Profile struct {
	// Name is the release that the profile follows, as in -compat.
	Name string
	// ClusterIDPCR is the PCR that takes the cluster ID.
	ClusterIDPCR int
	// Binding says how a quote is tied to nonce and user data.
	Binding Binding
}

// Binding is the way in which a quote's qualifying data covers nonce and user data.
type Binding int

const (
	// BindHashChain hashes user data, nonce and instance info into the
	// qualifying data, so that one signature covers all of them.
	BindHashChain Binding = iota + 1
	// BindSigned uses the raw nonce as qualifying data and a second AK signature
	// over the user data. The two are linked by the AK alone.
	BindSigned
)

var (
	// Profile224 is the last published generation, and the default.
	Profile224 = Profile{Name: "2.24", ClusterIDPCR: 15, Binding: BindHashChain}
	// Profile21 is the generation of October 2022.
	Profile21 = Profile{Name: "2.1", ClusterIDPCR: 12, Binding: BindSigned}
)

// ParseProfile fails with ErrProfile and the accepted names.
func ParseProfile(name string) (Profile, error) {
	var known []string
	for _, p := range []Profile{Profile224, Profile21} {
		if p.Name == name {
			return p, nil
		}
		known = append(known, p.Name)
	}
	return Profile{}, fmt.Errorf("%w %s, want one of: %s", ErrProfile, printable.Quote(name), strings.Join(known, ", "))
}
