package disk

import (
	"crypto/aes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"

	"disk-mapper/internal/keys"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/xts"
)

// A disk key is 32 random bytes: no KDF makes it harder to guess. These are the
// lowest costs that libcryptsetup accepts, so that an unlock takes milliseconds.
const (
	kdfTime   = 4
	kdfMemory = 32 // KiB
	kdfCPUs   = 1
)

// openKeyslot recovers the volume key with key, as LUKS2 specifies it: argon2id,
// AES-XTS over the area, anti-forensic merge, digest. It fails with
// keys.ErrWrongKey if the digest does not match.
func openKeyslot(m metadata, area []byte, key keys.DiskKey) ([]byte, error) {
	volumeKey := candidateVolumeKey(m.Keyslots["0"].KDF, area, key)
	d := m.Digests["0"]
	sum, err := digestOf(volumeKey, d.Salt, d.Iterations)
	if err == nil && subtle.ConstantTimeCompare(sum, d.Digest) != 1 {
		err = keys.ErrWrongKey
	}
	if err != nil {
		clear(volumeKey)
		return nil, err
	}
	return volumeKey, nil
}

func candidateVolumeKey(k kdf, area []byte, key keys.DiskKey) []byte {
	split := make([]byte, areaSize)
	defer clear(split)
	cipher := areaCipher(k, key)
	for sector := range areaSize / 512 {
		at := sector * 512
		cipher.Decrypt(split[at:at+512], area[at:at+512], uint64(sector))
	}
	return afMerge(split[:volumeKeySize*afStripes])
}

// sealKeyslot makes a keyslot for the volume key under key, and its area.
func sealKeyslot(volumeKey []byte, key keys.DiskKey) (keyslot, []byte) {
	k := keyslot{
		Type: "luks2", KeySize: volumeKeySize,
		AF:   af{Type: "luks1", Stripes: afStripes, Hash: "sha256"},
		Area: area{Type: "raw", Offset: strconv.Itoa(headersSize), Size: strconv.Itoa(areaSize), Encryption: "aes-xts-plain64", KeySize: areaKeySize},
		KDF:  kdf{Type: "argon2id", Time: kdfTime, Memory: kdfMemory, CPUs: kdfCPUs, Salt: random(saltSize)},
	}
	split := afSplit(volumeKey)
	defer clear(split)
	raw := make([]byte, areaSize)
	copy(raw, split)
	cipher := areaCipher(k.KDF, key)
	for sector := range areaSize / 512 {
		at := sector * 512
		cipher.Encrypt(raw[at:at+512], raw[at:at+512], uint64(sector))
	}
	return k, raw
}

// derivations run one at a time, so that the memory of two is never held at once.
var derivations sync.Mutex

// deriveAreaKey gives the memory of a costly derivation back to the system before
// it returns: the collector would leave it until as much again was taken.
func deriveAreaKey(k kdf, key keys.DiskKey) []byte {
	derivations.Lock()
	defer derivations.Unlock()
	if k.Memory > kdfMemory {
		defer debug.FreeOSMemory()
	}
	return argon2.IDKey(key.Bytes(), k.Salt, k.Time, k.Memory, uint8(k.CPUs), areaKeySize)
}

func areaCipher(k kdf, key keys.DiskKey) *xts.Cipher {
	areaKey := deriveAreaKey(k, key)
	defer clear(areaKey)
	cipher, err := xts.NewCipher(aes.NewCipher, areaKey)
	if err != nil {
		panic(fmt.Sprintf("AES-256-XTS with a %d-byte key: %v", areaKeySize, err)) // cannot happen: the size is constant
	}
	return cipher
}

// newDigest is what a volume key is recognised by.
func newDigest(volumeKey []byte) (digest, error) {
	salt := random(saltSize)
	sum, err := digestOf(volumeKey, salt, minDigestRounds)
	return digest{
		Type: "pbkdf2", Keyslots: []string{"0"}, Segments: []string{"0"}, Hash: "sha256",
		Iterations: minDigestRounds, Salt: salt, Digest: sum,
	}, err
}

func digestOf(volumeKey, salt []byte, rounds uint32) ([]byte, error) {
	sum, err := pbkdf2.Key(sha256.New, uncopied(volumeKey), salt, int(rounds), digestSize)
	if err != nil {
		return nil, fmt.Errorf("computing the digest of the volume key: %w", err)
	}
	return sum, nil
}

// afSplit is LUKS' anti-forensic splitter: stripes random but for the last,
// which makes all of them necessary.
func afSplit(key []byte) []byte {
	split := random(len(key) * afStripes)
	last := split[len(key)*(afStripes-1):]
	state := make([]byte, len(key))
	defer clear(state)
	for i := range afStripes - 1 {
		subtle.XORBytes(state, state, split[i*len(key):])
		diffuse(state)
	}
	subtle.XORBytes(last, state, key)
	return split
}

func afMerge(split []byte) []byte {
	n := len(split) / afStripes
	state := make([]byte, n)
	for i := range afStripes - 1 {
		subtle.XORBytes(state, state, split[i*n:(i+1)*n])
		diffuse(state)
	}
	subtle.XORBytes(state, state, split[(afStripes-1)*n:])
	return state
}

// diffuse hashes each digest-sized part of block with its number.
func diffuse(block []byte) {
	var numbered [4 + sha256.Size]byte
	defer clear(numbered[:])
	for i := 0; i*sha256.Size < len(block); i++ {
		part := block[i*sha256.Size : min((i+1)*sha256.Size, len(block))]
		binary.BigEndian.PutUint32(numbered[:], uint32(i))
		sum := sha256.Sum256(numbered[:4+copy(numbered[4:], part)])
		copy(part, sum[:])
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its contract
	return b
}
