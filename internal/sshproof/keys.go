package sshproof

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"disk-mapper/internal/printable"

	"golang.org/x/crypto/ssh"
)

// Sizes of an RSA modulus in bits. The upper one bounds the work of a
// verification.
const (
	minModulus = 2048
	maxModulus = 8192
)

// served are the types of key that can prove something.
var served = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}

// Keys are those whose possession counts. The zero value accepts no proof.
type Keys struct{ keys []ssh.PublicKey }

// ParseKeys reads public keys, each as TYPE:BASE64 or BASE64 alone: the second
// word of a line of authorized_keys, which has no spaces.
func ParseKeys(words []string) (Keys, error) {
	var k Keys
	for _, word := range words {
		key, err := parseKey(word)
		if err != nil {
			return Keys{}, fmt.Errorf("SSH public key %s: %w", printable.Quote(word), err)
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

// Empty reports whether there are no keys.
func (k Keys) Empty() bool { return len(k.keys) == 0 }

func (k Keys) find(blob []byte) ssh.PublicKey {
	i := slices.IndexFunc(k.keys, func(key ssh.PublicKey) bool { return bytes.Equal(key.Marshal(), blob) })
	if i < 0 {
		return nil
	}
	return k.keys[i]
}

func parseKey(word string) (ssh.PublicKey, error) {
	name, text, named := strings.Cut(word, ":")
	if !named {
		name, text = "", word
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("not base64; want TYPE:BASE64, as in authorized_keys but with a colon for the space")
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, printable.Error(err)
	}
	if named && name != key.Type() {
		return nil, fmt.Errorf("it is a key of type %s", key.Type())
	}
	return key, Usable(key)
}

// Usable says why a key cannot prove anything, or returns nil.
func Usable(key ssh.PublicKey) error {
	if !slices.Contains(served, key.Type()) {
		return fmt.Errorf("keys of type %s are not served, want one of %s", printable.Quote(key.Type()), strings.Join(served, ", "))
	}
	wrapped, _ := key.(ssh.CryptoPublicKey) // all served ones are
	if public, ok := wrapped.CryptoPublicKey().(*rsa.PublicKey); ok {
		if bits := public.N.BitLen(); bits < minModulus || bits > maxModulus {
			return fmt.Errorf("RSA with %d bits, want %d to %d", bits, minModulus, maxModulus)
		}
	}
	return nil
}
