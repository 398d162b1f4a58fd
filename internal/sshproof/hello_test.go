package sshproof

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func TestEveryServedTypeIntroducesItself(t *testing.T) {
	for _, kind := range served {
		t.Run(kind, func(t *testing.T) {
			key := newKey(t, kind)
			keys, err := ParseKeys([]string{word(newKey(t, ssh.KeyAlgoED25519).PublicKey()), word(key.PublicKey())})
			require.NoError(t, err)
			names, err := ProveHello("nonce", key)
			require.NoError(t, err)
			for _, name := range names {
				require.LessOrEqual(t, len(name), 255, "of a name in the ClientHello")
			}
			hellos := keys.Hellos()
			hello := &tls.ClientHelloInfo{ServerName: "nonce", SupportedProtos: append([]string{"h2"}, names...)}
			assert.True(t, hellos.Proven(hello))
			assert.False(t, hellos.Proven(hello), "each counts once")
			assert.False(t, Keys{}.Hellos().Proven(hello), "no key, no operator")
		})
	}
}

func TestHellosOfStrangers(t *testing.T) {
	key := newKey(t, ssh.KeyAlgoED25519)
	keys, err := ParseKeys([]string{word(key.PublicKey())})
	require.NoError(t, err)
	good, err := ProveHello("nonce", key)
	require.NoError(t, err)
	stranger, err := ProveHello("nonce", newKey(t, ssh.KeyAlgoED25519))
	require.NoError(t, err)
	client, _ := session(t)
	ofASession, err := Prove(client, key)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		server string
		offers []string
	}{
		"no proof":               {"nonce", []string{"h2"}},
		"nothing at all":         {"", nil},
		"another nonce":          {"other", good},
		"another key":            {"nonce", stranger},
		"half of it":             {"nonce", []string{good[0][:len(good[0])/2]}},
		"twice":                  {"nonce", append(slices.Clone(good), good...)},
		"not base64":             {"nonce", []string{good[0] + "="}},
		"only the prefix":        {"nonce", []string{helloPrefix}},
		"the proof of a session": {"nonce", []string{helloPrefix + string(ofASession)}},
		"too many":               {"nonce", slices.Repeat([]string{helloPrefix}, maxHelloChunks+1)},
	} {
		t.Run(name, func(t *testing.T) {
			assert.False(t, keys.Hellos().Proven(&tls.ClientHelloInfo{ServerName: tc.server, SupportedProtos: tc.offers}))
		})
	}
	require.True(t, keys.Hellos().Proven(&tls.ClientHelloInfo{ServerName: "nonce", SupportedProtos: good}), "unchanged, it counts")
}

// Only valid proofs are remembered, and so many of them.
func TestUsedHellosAreBounded(t *testing.T) {
	hellos := Keys{}.Hellos()
	for i := range 2 * maxUsed {
		require.True(t, hellos.use(strconv.Itoa(i)))
	}
	assert.Len(t, hellos.used, maxUsed)
	assert.Len(t, hellos.last, maxUsed)
	assert.False(t, hellos.use(strconv.Itoa(2*maxUsed-1)))
}

func FuzzHello(f *testing.F) {
	key := newKey(f, ssh.KeyAlgoED25519)
	keys, err := ParseKeys([]string{word(key.PublicKey())})
	require.NoError(f, err)
	good, err := ProveHello("nonce", key)
	require.NoError(f, err)
	f.Add("nonce", good[0])
	f.Add("", helloPrefix)
	f.Fuzz(func(t *testing.T, server, offer string) {
		hello := &tls.ClientHelloInfo{ServerName: server, SupportedProtos: []string{"h2", offer}}
		if keys.Hellos().Proven(hello) {
			assert.Equal(t, "nonce", server)
		}
	})
}

// TestHelloWithSHA1: a signature of RSA with SHA-1 proves nothing, whoever made it.
func TestHelloWithSHA1(t *testing.T) {
	key := newKey(t, ssh.KeyAlgoRSA)
	keys, err := ParseKeys([]string{word(key.PublicKey())})
	require.NoError(t, err)
	for algorithm, want := range map[string]bool{ssh.KeyAlgoRSA: false, ssh.KeyAlgoRSASHA256: true} {
		signature, err := key.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, helloToSign("nonce"), algorithm)
		require.NoError(t, err)
		proof := append(hint("nonce", key.PublicKey()), ssh.Marshal(signature)...)
		offers := []string{helloPrefix + base64.RawURLEncoding.EncodeToString(proof)}
		assert.Equal(t, want, keys.Hellos().Proven(&tls.ClientHelloInfo{ServerName: "nonce", SupportedProtos: offers}), algorithm)
	}
}
