package sshproof

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// session is both ends of a TLS session.
func session(t testing.TB) (client, server tls.ConnectionState) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	ours, theirs := net.Pipe()
	defer ours.Close()
	at := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
	shaken := make(chan error, 1)
	go func() { shaken <- at.Handshake() }()
	conn := tls.Client(ours, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	require.NoError(t, conn.Handshake())
	require.NoError(t, <-shaken)
	return conn.ConnectionState(), at.ConnectionState()
}

func newKey(t testing.TB, kind string) ssh.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case ssh.KeyAlgoED25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case ssh.KeyAlgoECDSA256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ssh.KeyAlgoECDSA384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case ssh.KeyAlgoECDSA521:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case ssh.KeyAlgoRSA:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromSigner(key)
	require.NoError(t, err)
	return signer
}

func word(key ssh.PublicKey) string {
	return key.Type() + ":" + base64.StdEncoding.EncodeToString(key.Marshal())
}

func TestEveryServedTypeProvesItself(t *testing.T) {
	client, server := session(t)
	for _, kind := range served {
		t.Run(kind, func(t *testing.T) {
			key := newKey(t, kind)
			keys, err := ParseKeys([]string{word(newKey(t, ssh.KeyAlgoED25519).PublicKey()), word(key.PublicKey())})
			require.NoError(t, err)
			proof, err := Prove(client, key)
			require.NoError(t, err)
			require.NoError(t, keys.Verify(server, proof))
			_, other := session(t)
			require.ErrorIs(t, keys.Verify(other, proof), ErrProof, "a proof is good for one session")
			require.ErrorIs(t, Keys{}.Verify(server, proof), ErrUnknownKey)
			require.True(t, Keys{}.Empty())
		})
	}
}

func TestRefusedProofs(t *testing.T) {
	client, server := session(t)
	key := newKey(t, ssh.KeyAlgoED25519)
	keys, err := ParseKeys([]string{word(key.PublicKey())})
	require.NoError(t, err)
	proof, err := Prove(client, key)
	require.NoError(t, err)
	change := func(f func(*envelope)) []byte {
		var e envelope
		require.NoError(t, ssh.Unmarshal(proof[len(preamble):], &e))
		f(&e)
		return append([]byte(preamble), ssh.Marshal(e)...)
	}
	stranger, err := Prove(client, newKey(t, ssh.KeyAlgoED25519))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		proof []byte
		want  error
	}{
		"none":          {nil, ErrProof},
		"cut":           {proof[:len(proof)-1], ErrProof},
		"longer":        {append(bytes.Clone(proof), 0), ErrProof},
		"huge":          {append(bytes.Clone(proof), make([]byte, maxProof)...), ErrProof},
		"armoured":      {[]byte("-----BEGIN SSH SIGNATURE-----"), ErrProof},
		"of a stranger": {stranger, ErrUnknownKey},
		"of a stranger as us": {change(func(e *envelope) {
			var s envelope
			_ = ssh.Unmarshal(stranger[len(preamble):], &s)
			e.Signature = s.Signature
		}), ErrProof},
		"for files":           {change(func(e *envelope) { e.Namespace = "file" }), ErrProof},
		"of another hash":     {change(func(e *envelope) { e.Hash = "sha256" }), ErrProof},
		"of another version":  {change(func(e *envelope) { e.Version = 2 }), ErrProof},
		"with something else": {change(func(e *envelope) { e.Reserved = "x" }), ErrProof},
		"with flipped bit":    {change(func(e *envelope) { e.Signature[len(e.Signature)-1] ^= 1 }), ErrProof},
		"signature and more":  {change(func(e *envelope) { e.Signature = append(e.Signature, 1) }), ErrProof},
		"not a signature":     {change(func(e *envelope) { e.Signature = []byte{1} }), ErrProof},
		"of RSA with SHA-1":   {change(func(e *envelope) { e.Signature = ssh.Marshal(ssh.Signature{Format: ssh.KeyAlgoRSA, Blob: []byte{1}}) }), ErrProof},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorIs(t, keys.Verify(server, tc.proof), tc.want) })
	}
}

func TestRefusedKeys(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	weakKey, err := ssh.NewPublicKey(&weak.PublicKey)
	require.NoError(t, err)
	good := word(newKey(t, ssh.KeyAlgoED25519).PublicKey())
	sk := ssh.Marshal(struct {
		Name        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, make([]byte, 32), "ssh:"})
	for name, tc := range map[string]struct{ word, want string }{
		"empty":           {"", "SSH public key"},
		"not base64":      {"ssh-ed25519:AAAA*", "not base64"},
		"cut":             {good[:len(good)-8], "SSH public key"},
		"other type":      {strings.Replace(good, "ssh-ed25519", "ssh-rsa", 1), "it is a key of type ssh-ed25519"},
		"weak RSA":        {word(weakKey), "RSA with 1024 bits, want 2048 to 8192"},
		"of a token":      {base64.StdEncoding.EncodeToString(sk), "keys of type \"sk-ssh-ed25519@openssh.com\" are not served"},
		"authorized_keys": {"ssh-ed25519", "SSH public key \"ssh-ed25519\""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKeys([]string{good, tc.word})
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, "SSH public key")
		})
	}
	bare, err := ParseKeys([]string{strings.TrimPrefix(good, "ssh-ed25519:")})
	require.NoError(t, err)
	assert.False(t, bare.Empty())
}

// The form is that of ssh-keygen: it verifies what we sign.
func TestOpenSSHVerifiesOurProof(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("no ssh-keygen here")
	}
	client, _ := session(t)
	key := newKey(t, ssh.KeyAlgoED25519)
	proof, err := Prove(client, key)
	require.NoError(t, err)
	value, err := client.ExportKeyingMaterial(label, nil, exported)
	require.NoError(t, err)
	dir := t.TempDir()
	armoured := pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: proof})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "proof"), armoured, 0o600))
	allowed := "operator " + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "allowed"), []byte(allowed), 0o600))
	verify := exec.CommandContext(t.Context(), keygen, "-Y", "verify", "-f", filepath.Join(dir, "allowed"), "-I", "operator", "-n", namespace, "-s", filepath.Join(dir, "proof"))
	verify.Stdin = bytes.NewReader(value)
	out, err := verify.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func FuzzVerify(f *testing.F) {
	client, server := session(f)
	key := newKey(f, ssh.KeyAlgoED25519)
	keys, err := ParseKeys([]string{word(key.PublicKey())})
	require.NoError(f, err)
	proof, err := Prove(client, key)
	require.NoError(f, err)
	f.Add(proof)
	f.Add([]byte(preamble))
	f.Fuzz(func(t *testing.T, mutated []byte) {
		if err := keys.Verify(server, mutated); err == nil {
			require.Equal(t, proof, mutated, "one key, one session, one proof")
		}
	})
}
