package atls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
)

// TestCertificateForm pins what other implementations look for.
func TestCertificateForm(t *testing.T) {
	peer := newNonce()
	certificate, err := certify(t.Context(), new(machine), peer)
	require.NoError(t, err)
	require.Len(t, certificate.Certificate, 1)
	c, err := x509.ParseCertificate(certificate.Certificate[0])
	require.NoError(t, err)
	assert.Equal(t, "CN=Constellation", c.Subject.String())
	assert.Equal(t, c.RawSubject, c.RawIssuer)
	assert.Equal(t, elliptic.P256(), c.PublicKey.(*ecdsa.PublicKey).Curve)
	assert.WithinDuration(t, time.Now().Add(-2*time.Hour), c.NotBefore, time.Minute)
	assert.WithinDuration(t, time.Now().Add(2*time.Hour), c.NotAfter, time.Minute)
	userData := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	require.Len(t, c.Extensions, 1)
	assert.Equal(t, "1.3.9900.5.1", c.Extensions[0].Id.String())
	assert.Equal(t, bindingOf(userData[:], peer[:]), c.Extensions[0].Value, "raw, without further wrapping")
}

func TestUnattestedCertificateHasNoExtension(t *testing.T) {
	certificate, err := certify(t.Context(), Unattested, newNonce())
	require.NoError(t, err)
	c, err := x509.ParseCertificate(certificate.Certificate[0])
	require.NoError(t, err)
	assert.Empty(t, c.Extensions)
}

// TestOlderTLSIsRefused (A14): with TLS 1.3 alone, there is no renegotiation, and
// without tickets (TestNoResumption) there is no 0-RTT data.
func TestOlderTLSIsRefused(t *testing.T) {
	old := newConfig()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	t.Run("client", func(t *testing.T) {
		clientRaw, serverRaw := pair(t)
		config := old.Clone()
		config.ServerName, config.InsecureSkipVerify = newNonce().String(), true
		go func() { _ = tls.Client(clientRaw, config).Handshake() }()
		_, _, err := ServerCredentials(new(machine), AcceptAnyPeer).ServerHandshake(serverRaw)
		assert.ErrorContains(t, err, "unsupported versions")
	})
	t.Run("server", func(t *testing.T) {
		clientRaw, serverRaw := pair(t)
		config := old.Clone()
		config.Certificates = []tls.Certificate{*forge{}.certificate(t, nonce{})}
		go func() { _ = tls.Server(serverRaw, config).Handshake() }()
		_, _, err := ClientCredentials(Unattested, AcceptAnyPeer).ClientHandshake(t.Context(), "", clientRaw)
		assert.ErrorContains(t, err, "protocol version")
	})
}

// TestCostlyCurvesAreRefused: a stranger does not choose what costs ten times as much.
func TestCostlyCurvesAreRefused(t *testing.T) {
	for curve, want := range map[tls.CurveID]bool{tls.CurveP384: false, tls.CurveP521: false, tls.CurveP256: true, tls.X25519: true, tls.X25519MLKEM768: true} {
		clientRaw, serverRaw := pair(t)
		config := &tls.Config{CurvePreferences: []tls.CurveID{curve}, NextProtos: []string{"h2"}, InsecureSkipVerify: true, ServerName: newNonce().String()}
		go func() { _ = tls.Client(clientRaw, config).Handshake() }()
		_, _, err := ServerCredentials(new(machine), AcceptAnyPeer).ServerHandshake(serverRaw)
		assert.Equal(t, want, err == nil, "%v: %v", curve, err)
	}
}

// TestPublishedClient: clients of Constellation offer TLS 1.2 too, and HTTP/1.1.
func TestPublishedClient(t *testing.T) {
	clientRaw, serverRaw := pair(t)
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1", "h2"}, InsecureSkipVerify: true, ServerName: newNonce().String()}
	shaken := make(chan error, 1)
	go func() { shaken <- tls.Client(clientRaw, config).Handshake() }()
	_, info, err := ServerCredentials(new(machine), AcceptAnyPeer).ServerHandshake(serverRaw)
	require.NoError(t, err)
	require.NoError(t, <-shaken)
	assert.Equal(t, "h2", info.(credentials.TLSInfo).State.NegotiatedProtocol)
}

// TestPublishedServer: those of v2.1 take a new TLS configuration for each
// connection, which says nothing of protocols.
func TestPublishedServer(t *testing.T) {
	clientRaw, serverRaw := pair(t)
	config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		fresh := newConfig()
		fresh.NextProtos = nil
		fresh.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return certify(hello.Context(), Unattested, newNonce())
		}
		return fresh, nil
	}}
	shaken := make(chan error, 1)
	go func() { shaken <- tls.Server(serverRaw, config).Handshake() }()
	_, info, err := ClientCredentials(Unattested, AcceptAnyPeer).ClientHandshake(t.Context(), "", clientRaw)
	require.NoError(t, err)
	require.NoError(t, <-shaken)
	assert.Empty(t, info.(credentials.TLSInfo).State.NegotiatedProtocol)
}

// TestCertificatesThatTLSDoesNotCarry: A12, rows that the library refuses before
// we are asked. We refuse them all the same.
func TestCertificatesThatTLSDoesNotCarry(t *testing.T) {
	weak := &x509.Certificate{PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 511), E: 3}}
	for name, chain := range map[string][]*x509.Certificate{"A12: empty chain": nil, "A12: RSA-512": {weak}} {
		t.Run(name, func(t *testing.T) {
			err := Require(new(machine)).check(t.Context(), chain, newNonce())
			require.ErrorIs(t, err, ErrRefused)
			assert.Equal(t, "certificate", attestation.ClassOf(err))
		})
	}
}

func TestPeerWithoutHTTP2IsRefused(t *testing.T) {
	serverRaw := dialAsking(t, newNonce())
	_, _, err := ServerCredentials(new(machine), AcceptAnyPeer).ServerHandshake(serverRaw)
	assert.ErrorContains(t, err, "does not speak HTTP/2")
}

func TestClientWithoutCertificateIsRefused(t *testing.T) {
	serverRaw := dialAsking(t, newNonce(), "h2")
	_, _, err := ServerCredentials(new(machine), Require(new(machine))).ServerHandshake(serverRaw)
	assert.ErrorContains(t, err, "certificate")
}

// TestRefusedClientLearnsIt: the connection stays open for what the client had
// already sent when it was refused.
func TestRefusedClientLearnsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clientRaw, serverRaw := net.Pipe()
		served := make(chan error, 1)
		go func() {
			_, _, err := ServerCredentials(Unattested, Require(&machine{fault: errFault})).ServerHandshake(serverRaw)
			served <- err
		}()
		conn, _, err := ClientCredentials(new(machine), AcceptAnyPeer).ClientHandshake(t.Context(), "", clientRaw)
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		require.ErrorContains(t, err, "bad certificate")
		synctest.Wait()
		_, err = clientRaw.Write([]byte("the first request"))
		require.NoError(t, err)
		start := time.Now()
		require.ErrorIs(t, <-served, errFault)
		assert.Equal(t, lingering, time.Since(start), "but not for ever")
	})
}

// TestNoResumption (A13): a client that would resume gets no ticket, and the second
// connection is judged like the first.
func TestNoResumption(t *testing.T) {
	m := new(machine)
	serving := ServerCredentials(Unattested, Require(m))
	cache := countingCache{tls.NewLRUClientSessionCache(1), new(atomic.Int32)}
	name := newNonce().String()
	for range 2 {
		clientRaw, serverRaw := pair(t)
		config := ClientCredentials(m, AcceptAnyPeer).(client).config(t.Context())
		config.ServerName, config.ClientSessionCache = name, cache
		ended := make(chan error, 1)
		go func() {
			conn, _, err := serving.ServerHandshake(serverRaw)
			if err == nil {
				_, err = conn.Write([]byte("."))
			}
			ended <- err
		}()
		conn := tls.Client(clientRaw, config)
		_, err := conn.Read(make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, <-ended)
		assert.False(t, conn.ConnectionState().DidResume)
	}
	assert.Zero(t, cache.put.Load(), "tickets sent")
	assert.Len(t, m.judged, 2)
}

type countingCache struct {
	tls.ClientSessionCache
	put *atomic.Int32
}

func (c countingCache) Put(key string, state *tls.ClientSessionState) {
	c.put.Add(1)
	c.ClientSessionCache.Put(key, state)
}

// TestReplayedHandshake (A1) sends what a client has once sent to a server again.
func TestReplayedHandshake(t *testing.T) {
	m := new(machine)
	serving := ServerCredentials(Unattested, Require(m))
	clientRaw, serverRaw := pair(t)
	recorded := &recorder{Conn: clientRaw}
	go func() {
		conn, _, err := serving.ServerHandshake(serverRaw)
		if err == nil {
			_, _ = conn.Write([]byte("."))
		}
	}()
	conn, _, err := ClientCredentials(m, AcceptAnyPeer).ClientHandshake(t.Context(), "", recorded)
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)

	clientRaw, serverRaw = pair(t)
	go func() { _, _ = clientRaw.Write(recorded.sent); _, _ = io.Copy(io.Discard, clientRaw) }()
	_, _, err = serving.ServerHandshake(serverRaw)
	assert.Error(t, err)
	assert.Len(t, m.judged, 1, "the replay came as far as the validator")
}

type recorder struct {
	net.Conn
	sent []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.sent = append(r.sent, p...)
	return r.Conn.Write(p)
}

// dialAsking is the server's end of a plain TLS client that asks for n and the
// protocols.
func dialAsking(t testing.TB, n nonce, protocols ...string) net.Conn {
	t.Helper()
	clientRaw, serverRaw := pair(t)
	config := newConfig()
	config.NextProtos = protocols
	config.ServerName, config.InsecureSkipVerify = n.String(), true
	go func() { _ = tls.Client(clientRaw, config).Handshake() }()
	return serverRaw
}

// liar shows a certificate of one key and proves the possession of another.
type liar struct {
	crypto.Signer
	other crypto.Signer
}

func (l liar) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return l.other.Sign(r, digest, opts)
}

// FuzzPeer: no certificate makes the policy panic, and none passes that is not
// bound to the nonce.
func FuzzPeer(f *testing.F) {
	for _, forged := range forgeries {
		if der := forged.certificate(f, nonce{}).Certificate[0]; len(der) < 4096 {
			f.Add(der)
		}
	}
	own := newNonce()
	policy := Require(new(machine))
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		require.ErrorIs(t, policy.check(t.Context(), []*x509.Certificate{c}, own), ErrRefused)
	})
}
