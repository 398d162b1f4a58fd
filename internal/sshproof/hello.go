package sshproof

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// A proof in the ClientHello stands among the protocols that the client offers:
// servers ignore those that they do not know. One name has at most 255 bytes.
const (
	helloPrefix    = "recover@disk-mapper/"
	helloNamespace = "recover-hello@disk-mapper" // no signature of a session passes for one of a hello
	helloChunk     = 200                         // characters of base64 in one name
	maxHelloChunks = 10                          // the signature of the largest RSA key fits
	maxUsed        = 4096                        // proofs that are remembered as used; 32 bytes each
	hintSize       = 8
)

// ProveHello signs the server name of a ClientHello, which no other ClientHello
// has, with key. The result are names of protocols to offer.
//
// Everybody on the way can read it and send it again. It is worth a place before
// strangers, once, and nothing else: what is done in the session needs Prove.
func ProveHello(serverName string, key ssh.Signer) ([]string, error) {
	signature, err := sign(key, helloToSign(serverName))
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", ssh.FingerprintSHA256(key.PublicKey()), err)
	}
	proof := append(hint(serverName, key.PublicKey()), ssh.Marshal(signature)...)
	text := base64.RawURLEncoding.EncodeToString(proof)
	var names []string
	for len(text) > 0 {
		n := min(len(text), helloChunk)
		names = append(names, helloPrefix+text[:n])
		text = text[n:]
	}
	return names, nil
}

// hint tells those who know the key which one it is.
func hint(serverName string, key ssh.PublicKey) []byte {
	sum := sha256.Sum256(append([]byte(serverName), key.Marshal()...))
	return sum[:hintSize]
}

func helloToSign(serverName string) []byte {
	digest := sha512.Sum512([]byte(serverName))
	return append([]byte(preamble), ssh.Marshal(statement{Namespace: helloNamespace, Hash: hashName, Digest: digest[:]})...)
}

// Hellos knows the ClientHellos of operators from those of strangers.
type Hellos struct {
	keys Keys
	mu   sync.Mutex
	used map[[sha256.Size]byte]struct{}
	last [][sha256.Size]byte // the oldest first
}

// Hellos are judged by the keys. Each proof counts once, until maxUsed others have
// been used.
func (k Keys) Hellos() *Hellos {
	return &Hellos{keys: k, used: map[[sha256.Size]byte]struct{}{}}
}

// Proven reports whether hello has the proof of one of the keys, for the first
// time.
func (h *Hellos) Proven(hello *tls.ClientHelloInfo) bool {
	proof, ok := helloProof(hello.SupportedProtos)
	return ok && h.keys.signed(hello.ServerName, proof) && h.use(hello.ServerName)
}

func helloProof(protocols []string) (proof []byte, ok bool) {
	var text strings.Builder
	chunks := 0
	for _, name := range protocols {
		if chunk, ours := strings.CutPrefix(name, helloPrefix); ours {
			chunks++
			text.WriteString(chunk)
		}
	}
	if chunks == 0 || chunks > maxHelloChunks {
		return nil, false
	}
	proof, err := base64.RawURLEncoding.Strict().DecodeString(text.String())
	return proof, err == nil && len(proof) > hintSize
}

func (k Keys) signed(serverName string, proof []byte) bool {
	var signature ssh.Signature
	if err := ssh.Unmarshal(proof[hintSize:], &signature); err != nil || len(signature.Rest) > 0 || signature.Format == ssh.KeyAlgoRSA {
		return false
	}
	for _, key := range k.keys {
		if string(hint(serverName, key)) == string(proof[:hintSize]) {
			return key.Verify(helloToSign(serverName), &signature) == nil
		}
	}
	return false
}

// use reports whether this is the first time.
func (h *Hellos) use(serverName string) bool {
	sum := sha256.Sum256([]byte(serverName))
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, again := h.used[sum]; again {
		return false
	}
	h.used[sum] = struct{}{}
	if h.last = append(h.last, sum); len(h.last) > maxUsed {
		delete(h.used, h.last[0])
		h.last = h.last[1:]
	}
	return true
}
