// Package sshproof proves the possession of an SSH key within one TLS session:
// the client signs the session's exporter value, which no other session has, in
// the form of ssh-keygen -Y (SSHSIG, protocol version 1, without armour).
//
// Trust boundary: proofs come from whoever connects. The keys that count come
// from whoever controls the server's configuration.
package sshproof

import (
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Header is the name of the gRPC metadata that carries a proof.
const Header = "recovery-operator-bin"

// What is signed, and for what.
const (
	label     = "EXPORTER-disk-mapper-recovery-operator" // RFC 5705, RFC 8446 section 7.5
	namespace = "recover@disk-mapper"
	exported  = 32
	maxProof  = 4 << 10 // the largest RSA key and its signature are half of it
)

var (
	// ErrProof reports a proof that is none, or is of another session.
	ErrProof = errors.New("no proof of an operator's key")
	// ErrUnknownKey reports the proof of a key that is not among those that count.
	ErrUnknownKey = errors.New("unknown operator's key")
)

// envelope is an SSHSIG blob after its preamble.
type envelope struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// statement is what is signed, after the same preamble.
type statement struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

const (
	preamble = "SSHSIG"
	hashName = "sha512"
)

// Prove signs session with key.
func Prove(session tls.ConnectionState, key ssh.Signer) ([]byte, error) {
	signed, err := toSign(session)
	if err != nil {
		return nil, err
	}
	signature, err := sign(key, signed)
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", ssh.FingerprintSHA256(key.PublicKey()), err)
	}
	return append([]byte(preamble), ssh.Marshal(envelope{
		Version: 1, PublicKey: key.PublicKey().Marshal(), Namespace: namespace,
		Hash: hashName, Signature: ssh.Marshal(signature),
	})...), nil
}

// sign chooses the algorithm for RSA, whose default is SHA-1.
func sign(key ssh.Signer, data []byte) (*ssh.Signature, error) {
	if key.PublicKey().Type() != ssh.KeyAlgoRSA {
		return key.Sign(rand.Reader, data)
	}
	chooser, ok := key.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("the RSA key cannot sign with SHA-512")
	}
	return chooser.SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSASHA512)
}

func toSign(session tls.ConnectionState) ([]byte, error) {
	value, err := session.ExportKeyingMaterial(label, nil, exported)
	if err != nil {
		return nil, fmt.Errorf("exporting from the TLS session: %w", err)
	}
	digest := sha512.Sum512(value)
	return append([]byte(preamble), ssh.Marshal(statement{Namespace: namespace, Hash: hashName, Digest: digest[:]})...), nil
}

// Verify returns nil only if proof is of session and of one of keys. It fails
// with ErrProof or ErrUnknownKey.
func (k Keys) Verify(session tls.ConnectionState, proof []byte) error {
	e, err := open(proof)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	key := k.find(e.PublicKey)
	if key == nil {
		return ErrUnknownKey
	}
	var signature ssh.Signature
	if err := ssh.Unmarshal(e.Signature, &signature); err != nil || len(signature.Rest) > 0 {
		return fmt.Errorf("%w: malformed signature", ErrProof)
	}
	if signature.Format == ssh.KeyAlgoRSA {
		return fmt.Errorf("%w: %s signs with SHA-1, want rsa-sha2-256 or rsa-sha2-512", ErrProof, signature.Format)
	}
	signed, err := toSign(session)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	if err := key.Verify(signed, &signature); err != nil {
		return fmt.Errorf("%w: signature is not of this session", ErrProof)
	}
	return nil
}

func open(proof []byte) (envelope, error) {
	var e envelope
	if len(proof) > maxProof || len(proof) < len(preamble) || string(proof[:len(preamble)]) != preamble {
		return e, errors.New("not an SSH signature")
	}
	if err := ssh.Unmarshal(proof[len(preamble):], &e); err != nil {
		return e, errors.New("malformed SSH signature")
	}
	if e.Version != 1 || e.Namespace != namespace || e.Reserved != "" || e.Hash != hashName {
		return e, fmt.Errorf("SSH signature for another purpose: want version 1, %s, %s", namespace, hashName)
	}
	return e, nil
}
