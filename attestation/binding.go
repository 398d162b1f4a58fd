package attestation

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// QualifyingData is what the TPM puts into its quotes so that they are fresh
// for nonce and, under BindHashChain, bound to userData and instanceInfo.
// It fails unless userData and nonce have 32 bytes each: the hash joins them
// without a separator.
func (b Binding) QualifyingData(userData, nonce, instanceInfo []byte) ([]byte, error) {
	extra, err := ExtraData(userData, nonce)
	if err != nil {
		return nil, err
	}
	switch b {
	case BindHashChain:
		return joinedHash(instanceInfo, extra), nil
	case BindSigned:
		return append([]byte(nil), nonce...), nil
	default:
		return nil, fmt.Errorf("binding a quote: unknown binding %d", b)
	}
}

// ExtraData is one hash over both, for the hash chain and for hardware reports
// that are fresh themselves. It fails unless both have 32 bytes.
func ExtraData(userData, nonce []byte) ([]byte, error) {
	if len(userData) != sha256.Size || len(nonce) != NonceSize {
		return nil, fmt.Errorf("binding a quote: user data of %d and nonce of %d bytes, want %d and %d",
			len(userData), len(nonce), sha256.Size, NonceSize)
	}
	return joinedHash(userData, nonce), nil
}

func joinedHash(first, second []byte) []byte {
	h := sha256.New()
	h.Write(first)
	h.Write(second)
	return h.Sum(nil)
}

// Separation is a PCR that must not be zero when a machine signs, and the event
// that is measured into it if it is.
type Separation struct {
	PCR   int
	Event []byte
}

// Separation keeps what a machine signs under b from being taken for a statement
// under another binding, of the same key. BindSigned quotes whatever 32 bytes a
// stranger sends, and the hash of BindHashChain has 32 bytes: so under BindSigned
// the PCR in which verifiers of all other generations want zero holds this event.
// It returns false where nothing is needed: a hash that a stranger cannot choose
// is nobody's nonce.
func (b Binding) Separation() (Separation, bool) {
	if b != BindSigned {
		return Separation{}, false
	}
	return Separation{Profile224.ClusterIDPCR, []byte("disk-mapper: quotes of this boot are for profile " + Profile21.Name)}, true
}

// Extended is what one TPM2_PCR_Event makes of a PCR of zero, in the SHA-256 bank.
func Extended(event []byte) []byte {
	digest := sha256.Sum256(event)
	return joinedHash(make([]byte, sha256.Size), digest[:])
}

// Foreign reports whether PCRs of the SHA-256 bank say that the machine signs under
// another binding than b: no quote of it is a statement under b, whatever is expected
// of the PCR.
func (b Binding) Foreign(pcrs map[int][]byte) (pcr int, is bool) {
	for _, other := range []Binding{BindHashChain, BindSigned} {
		if s, needed := other.Separation(); needed && other != b && bytes.Equal(pcrs[s.PCR], Extended(s.Event)) {
			return s.PCR, true
		}
	}
	return 0, false
}
