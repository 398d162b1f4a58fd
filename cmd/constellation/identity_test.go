package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/sshproof"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// operator is a person with one key in all the forms in which it can be kept.
type operator struct {
	public                      ssh.PublicKey
	private, locked, publicFile string
	agent                       string // socket
}

func newOperator(t *testing.T) operator {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	public, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	open, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("passphrase"))
	require.NoError(t, err)
	dir := t.TempDir()
	save := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	ring := agent.NewKeyring()
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: key}))
	return operator{
		public: public, private: save("id", pem.EncodeToMemory(open)), locked: save("id.locked", pem.EncodeToMemory(locked)),
		publicFile: save("id.pub", ssh.MarshalAuthorizedKey(public)), agent: serveAgent(t, ring),
	}
}

func serveAgent(t *testing.T, ring agent.Agent) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	return socket
}

func (o operator) authorised(t *testing.T) sshproof.Keys {
	t.Helper()
	keys, err := sshproof.ParseKeys([]string{o.public.Type() + ":" + base64.StdEncoding.EncodeToString(o.public.Marshal())})
	require.NoError(t, err)
	return keys
}

// TestIdentity recovers the real recovery server that takes calls of one
// operator only.
func TestIdentity(t *testing.T) {
	ours, stranger := newOperator(t), newOperator(t)
	for name, tc := range map[string]struct {
		args  []string
		agent string
		want  string // part of the error
	}{
		"private key":                  {[]string{"--identity", ours.private}, "", ""},
		"public key and agent":         {[]string{"--identity", ours.publicFile}, ours.agent, ""},
		"encrypted key and agent":      {[]string{"--identity", ours.locked}, ours.agent, ""},
		"no identity":                  {nil, "", "name yours with --identity"},
		"another one's":                {[]string{"--identity", stranger.private}, "", "unknown operator's key"},
		"encrypted key, no agent":      {[]string{"--identity", ours.locked}, "", "SSH_AUTH_SOCK is not set"},
		"encrypted key, agent without": {[]string{"--identity", ours.locked}, stranger.agent, "the SSH agent does not have the key SHA256:"},
		"no such file":                 {[]string{"--identity", "/nonexistent"}, "", "identity: open /nonexistent"},
		"no key":                       {[]string{"--identity", "recover_test.go"}, "", "neither a private nor a public SSH key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SSH_AUTH_SOCK", tc.agent)
			address := unusedAddress(t)
			won := waitForKey(t, address, vectors["A"], ours.authorised(t))
			awaitListener(t, address)
			screen, err := recoverNodes(t, hurried, append(tc.args, "-e", address, "--insecure-skip-attestation")...)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				assert.Empty(t, won)
				return
			}
			require.NoError(t, err)
			assert.Contains(t, screen.out.String(), "Pushed recovery key.")
			<-won
		})
	}
}

// TestOperatorIsIntroduced: the ClientHello proves the operator's key, and servers
// that do not know of it go on as ever: of before ALPN, and with h2 alone.
func TestOperatorIsIntroduced(t *testing.T) {
	operator := newOperator(t)
	raw, err := os.ReadFile(operator.private)
	require.NoError(t, err)
	key, err := ssh.ParsePrivateKey(raw)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		as        *identity
		protocols []string
	}{
		"to a server with h2":        {&identity{key}, []string{"h2"}},
		"to a server of before ALPN": {&identity{key}, nil},
		"nobody to introduce":        {nil, []string{"h2"}},
	} {
		t.Run(name, func(t *testing.T) {
			certificate, err := tls.X509KeyPair(selfSigned(t))
			require.NoError(t, err)
			var hello *tls.ClientHelloInfo
			ours, theirs := net.Pipe()
			defer ours.Close()
			server := tls.Server(theirs, &tls.Config{NextProtos: tc.protocols, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				hello = h
				return &certificate, nil
			}, SessionTicketsDisabled: true})
			shaken := make(chan error, 1)
			go func() { shaken <- server.Handshake() }()
			_, _, err = caller{nodes: atls.AcceptAnyPeer, operator: tc.as}.handshakes().ClientHandshake(t.Context(), "", ours)
			require.NoError(t, err)
			require.NoError(t, <-shaken)
			assert.Equal(t, "h2", hello.SupportedProtos[0])
			assert.Equal(t, tc.as != nil, operator.authorised(t).Hellos().Proven(hello))
		})
	}
}

// selfSigned is a certificate and its key.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestIdentityOfAnotherType(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	blob := ssh.Marshal(struct {
		Name, Curve string
		Point       []byte
		Application string
	}{ssh.KeyAlgoSKECDSA256, "nistp256", public.Marshal()[len(public.Marshal())-65:], "ssh:"})
	_, err = signer([]byte(ssh.KeyAlgoSKECDSA256+" "+base64.StdEncoding.EncodeToString(blob)), "")
	require.ErrorContains(t, err, "are not served, want one of ssh-ed25519")
}
