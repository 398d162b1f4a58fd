package fairlistener

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const slowly = time.Second + time.Millisecond

// machine is an issuer and validator whose documents are what they bind.
type machine struct{ takes time.Duration }

func (machine) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (m machine) Issue(_ context.Context, userData, nonce []byte) ([]byte, error) {
	time.Sleep(m.takes)
	return append(bytes.Clone(userData), nonce...), nil
}

func (machine) Validate(_ context.Context, document, userData, nonce []byte) error {
	if !bytes.Equal(document, append(bytes.Clone(userData), nonce...)) {
		return errors.New("not the document of this connection")
	}
	return nil
}

// G18: strangers' handshakes leave the TPM to others in between, and no more of
// them wait than have a chance.
func TestQuotesAreMadeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := New(nil, testLimits)
		var mu sync.Mutex
		var took []time.Duration
		refused := 0
		start := time.Now()
		var handshakes sync.WaitGroup
		for i := range 3 * maxWaiting {
			conn, _ := come(listener, byte(i))
			handshakes.Go(func() {
				_, err := quoting{machine{slowly}, conn}.Issue(t.Context(), []byte("key"), []byte("nonce"))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					took = append(took, time.Since(start))
					return
				}
				refused++
			})
		}
		handshakes.Wait()
		assert.Len(t, took, int(turnTime/time.Second), "nobody's connection is worth waiting for longer")
		for i, d := range took {
			assert.Equal(t, time.Duration(i+1)*slowly, d)
		}
		assert.Equal(t, 3*maxWaiting-len(took), refused)
		_, busy := listener.Counts()
		assert.Equal(t, 3*maxWaiting-1-maxWaiting, busy, "at once, for want of a place")
	})
}

// A quote is for who is still there: whoever closes the connection, the place in
// the queue is free, and the turn is not lost.
func TestQuotesEndWithTheirConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(ours *Conn, theirs net.Conn)
		want error
	}{
		"we close it":             {func(ours *Conn, _ net.Conn) { _ = ours.Close() }, ErrHungUp},
		"the peer hangs up":       {func(_ *Conn, theirs net.Conn) { _ = theirs.Close() }, ErrHungUp},
		"the peer floods it":      {func(_ *Conn, theirs net.Conn) { _, _ = theirs.Write(make([]byte, maxEarly)) }, errTooEarly},
		"after a few early bytes": {func(_ *Conn, theirs net.Conn) { _, _ = theirs.Write([]byte{20}); _ = theirs.Close() }, ErrHungUp},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, theirs := piped(t)
				queue := conn.listener.quotes
				require.NoError(t, queue.Enter(t.Context(), at(1), false))
				ended := make(chan error, 1)
				go func() { _, err := quoting{machine{}, conn}.Issue(t.Context(), nil, nil); ended <- err }()
				synctest.Wait()
				require.Len(t, queue.waiting, 1)
				require.Positive(t, conn.holds, "not closed for another one meanwhile")
				tc.end(conn, theirs)
				synctest.Wait()
				require.Empty(t, queue.waiting)
				require.ErrorIs(t, <-ended, tc.want)
				queue.Leave(at(1))
				require.NoError(t, queue.Enter(t.Context(), at(2), false), "the turn is not lost")
			})
		})
	}
}

// piped is a connection of a listener, and the peer's end of it.
func piped(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	conn := New(nil, testLimits).admit(ours)
	t.Cleanup(func() { _, _ = conn.Close(), theirs.Close() })
	return conn, theirs
}

// What a peer says while it waits is not lost: some TLS clients do.
func TestEarlyBytesAreKept(t *testing.T) {
	conn, theirs := piped(t)
	_, stop := conn.whileConnected(t.Context(), maxEarly)
	early := []byte{20, 3, 3, 0, 1, 1}
	_, err := theirs.Write(early)
	require.NoError(t, err)
	stop()
	go func() { _, _ = theirs.Write([]byte("later")) }()
	got := make([]byte, len(early)+5)
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	assert.Equal(t, append(early, "later"...), got)
}

// serve accepts connections on loopback, with these handshakes, and reports how
// each ended.
func serve(t *testing.T, h Handshakes) (l *Listener, ends <-chan error) {
	t.Helper()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l = New(raw, Limits{Conns: 64, PerNetwork: 64, Waiting: maxWaiting})
	ended := make(chan error, 1000)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { _, _, err := h.Credentials().ServerHandshake(conn); ended <- err })
		}
	})
	t.Cleanup(func() { _ = l.Close(); l.closeAll(); all.Wait() })
	return l, ended
}

// client shakes hands with a certificate that has size bytes more than it needs.
func client(t *testing.T, l *Listener, size int) error {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{{Id: attestation.QEMUVTPM.OID(), Value: make([]byte, size)}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, ServerName: strings.Repeat("A", 43) + "=", NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
		},
	})
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
		_, err = conn.Read(make([]byte, 1)) // the server's verdict
	}
	return err
}

// believing accepts documents of any content.
type believing struct{ machine }

func (believing) Validate(context.Context, []byte, []byte, []byte) error { return nil }

// A ClientHello is small: whoever sends more takes no turn for large certificates.
func TestLargeClientHello(t *testing.T) {
	l, ends := serve(t, Handshakes{Self: atls.Unattested, Peers: atls.Require(believing{})})
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	go func() {
		_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: strings.Repeat("A", 43) + "=", NextProtos: slices.Repeat([]string{strings.Repeat("h", 250)}, 4*smallHandshake/250)}).Handshake()
	}()
	require.ErrorIs(t, <-ends, errTooLong)
	require.Empty(t, l.large.passed, "it had no turn")
}

// The rest of a large certificate has to come soon, whatever time its peer had before.
func TestDeadlineOfALargeCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := piped(t)
		conn.bytes, conn.answered = smallHandshake, func() {}
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Hour)))
		start := time.Now()
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, largeTime, time.Since(start))
	})
}

// Who was named goes before strangers for each kind of turn.
func TestNamedPeerGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil, testLimits)
		defer l.closeAll()
		for what, queue := range map[string]*Queue{"answers": l.hellos, "certificates": l.large} {
			for i := range queue.turns {
				require.NoError(t, queue.Enter(t.Context(), at(10+i), true))
			}
			var first []bool
			var all sync.WaitGroup
			for _, named := range []bool{false, false, true} {
				conn, _ := come(l, 2)
				conn.named = named
				all.Go(func() {
					if conn.enter(conn.gone, queue, what) == nil {
						first = append(first, named)
						queue.Leave(conn.network)
					}
				})
				synctest.Wait()
			}
			queue.Leave(at(10))
			all.Wait()
			require.Equal(t, []bool{true, false, false}, first, what)
		}
	})
}

// How much of a handshake is read is bounded, and the largest document passes.
func TestLargeHandshakes(t *testing.T) {
	for name, tc := range map[string]struct {
		size int
		want error
	}{
		"small":               {100, nil},
		"largest document":    {attestation.MaxDocument, nil},
		"larger than is read": {maxHandshake + 16<<10, errTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			l, ends := serve(t, Handshakes{Self: atls.Unattested, Peers: atls.Require(believing{})})
			go func() { _ = client(t, l, tc.size) }()
			require.ErrorIs(t, <-ends, tc.want)
			require.Empty(t, l.large.taken, "the turn is given back")
			require.Empty(t, l.hellos.taken, "the turn is given back")
		})
	}
}

// However much has come already: one read is not more than what may be read.
func TestOneReadIsNotMoreThanMayBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, theirs := piped(t)
		go func() { _, _ = theirs.Write(make([]byte, 2*maxHandshake)) }()
		all := make([]byte, 2*maxHandshake)
		n, err := conn.Read(all)
		require.NoError(t, err)
		require.Equal(t, smallHandshake, n)
		_, err = conn.Read(all)
		require.ErrorIs(t, err, errTooLong, "no ClientHello is large")
		conn.answered = func() {}
		n, err = conn.Read(all)
		require.NoError(t, err)
		require.Len(t, conn.listener.large.taken, 1)
		require.Equal(t, maxHandshake-smallHandshake, n)
		_, err = conn.Read(all)
		require.ErrorIs(t, err, errTooLong)
	})
}

// However many send large certificates, few are read at a time; the turn ends with
// the connection.
func TestLargeHandshakesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil, Limits{Conns: 64, PerNetwork: 64, Waiting: maxWaiting})
		read := func(host byte) (*Conn, chan error) {
			conn, _ := comeFrom(l, &net.TCPAddr{IP: net.IPv4(192, 0, 2, host)})
			conn.bytes, conn.answered = smallHandshake, func() {}
			done := make(chan error, 1)
			go func() { done <- conn.enterLarge() }()
			synctest.Wait()
			return conn, done
		}
		var holders []*Conn
		for range maxLargeOfOne {
			conn, done := read(1)
			require.NoError(t, <-done)
			holders = append(holders, conn)
		}
		waiting, blocked := read(1)
		require.Empty(t, blocked, "its network has all it can have")
		_, done := read(2)
		require.NoError(t, <-done, "another network has its own")
		holders[0].judged()
		require.NoError(t, <-blocked)
		gone, blocked := read(1)
		require.NoError(t, gone.Close())
		require.ErrorIs(t, <-blocked, ErrHungUp)
		waiting.judged()
		_, done = read(1)
		require.NoError(t, <-done)
	})
}

// A flood of ClientHellos costs one core, not all: they are answered one at a time.
// The turn ends with our answer, which the peer could keep us from sending, with the
// wait for a quote, with the handshake; who waits for it is not closed for others.
func TestClientHellosAreAnsweredInTurns(t *testing.T) {
	handshakes := transport{Handshakes: Handshakes{Self: machine{}}}
	for name, end := range map[string]func(t *testing.T, answered *Conn, peer net.Conn){
		"the answer is sent": func(_ *testing.T, c *Conn, _ net.Conn) { go func() { _, _ = c.Write([]byte("ServerHello")) }() },
		"it waits for a quote": func(t *testing.T, c *Conn, _ net.Conn) {
			go func() { _, _ = quoting{machine{time.Second}, c}.Issue(t.Context(), nil, nil) }()
		},
		"the peer hangs up": func(_ *testing.T, c *Conn, peer net.Conn) {
			_ = peer.Close()
			_, _ = c.Read(make([]byte, 1))
			c.judged()
		},
		"the handshake has ended": func(_ *testing.T, c *Conn, _ net.Conn) { c.judged() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(nil, testLimits)
				defer l.closeAll()
				greet := func() (*Conn, net.Conn, chan error) {
					ours, theirs := net.Pipe()
					t.Cleanup(func() { _ = theirs.Close() })
					conn, done := l.admit(ours), make(chan error, 1)
					go func() { done <- handshakes.greet(conn, nil) }()
					synctest.Wait()
					return conn, theirs, done
				}
				first, peer, done := greet()
				require.NoError(t, <-done)
				second, _, blocked := greet()
				require.Empty(t, blocked)
				require.Positive(t, second.holds)
				gone, _, leaving := greet()
				require.NoError(t, gone.Close())
				require.ErrorIs(t, <-leaving, ErrHungUp)
				_, theirs, leaving := greet()
				require.NoError(t, theirs.Close())
				require.ErrorIs(t, <-leaving, ErrHungUp, "the peer's place is free as well")
				end(t, first, peer)
				synctest.Wait()
				require.NoError(t, <-blocked)
				require.Zero(t, second.holds)
				time.Sleep(time.Minute) // the quote ends
			})
		})
	}
}

// shake is the handshake with a peer that does what script says, in a time bubble.
func shake(t *testing.T, h Handshakes, script func(ctx context.Context, theirs net.Conn)) (took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		start := time.Now()
		var peer sync.WaitGroup
		peer.Go(func() { script(t.Context(), theirs) })
		l := New(nil, testLimits)
		_, _, err = h.Credentials().ServerHandshake(l.admit(ours))
		took = time.Since(start)
		l.closeAll()
		_ = theirs.Close()
		peer.Wait()
	})
	return took, err
}

// One short deadline is for the whole ClientHello, not for its first byte.
func TestDeadlineOfTheClientHello(t *testing.T) {
	for name, script := range map[string]func(context.Context, net.Conn){
		"nothing":  func(context.Context, net.Conn) {},
		"one byte": func(_ context.Context, c net.Conn) { _, _ = c.Write([]byte{22}) },
		"a byte each 100 ms": func(_ context.Context, c net.Conn) {
			for _, b := range append([]byte{22, 3, 1, 2, 0, 1, 0}, make([]byte, 500)...) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			took, err := shake(t, Handshakes{Self: atls.Unattested, Peers: atls.Require(machine{})}, script)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			assert.Equal(t, helloTime, took)
		})
	}
}

// A peer's time for its certificate starts when it has ours, not while it waits for
// other peers' quotes.
func TestDeadlineStartsWithTheTurn(t *testing.T) {
	const quote = turnTime - time.Second
	took, err := shake(t, Handshakes{Self: machine{quote}, Peers: atls.Require(machine{})}, func(ctx context.Context, c net.Conn) {
		_, _, err := atls.ClientCredentials(machine{certificateTime - time.Second}, atls.AcceptAnyPeer).ClientHandshake(ctx, "", c)
		assert.NoError(t, err)
	})
	require.NoError(t, err)
	assert.Equal(t, quote+certificateTime-time.Second, took)
}

// A turn in the queue does not end the peer's deadline for good.
func TestPeerThatNeverSendsItsCertificate(t *testing.T) {
	took, err := shake(t, Handshakes{Self: machine{}, Peers: atls.Require(machine{})}, func(ctx context.Context, c net.Conn) {
		_, _, _ = atls.ClientCredentials(machine{time.Hour}, atls.AcceptAnyPeer).ClientHandshake(ctx, "", c)
	})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.Equal(t, certificateTime, took)
}

func TestFailingIssuer(t *testing.T) {
	_, err := shake(t, Handshakes{Self: broken{}, Peers: atls.AcceptAnyPeer}, func(ctx context.Context, c net.Conn) {
		_, _, _ = atls.ClientCredentials(atls.Unattested, atls.AcceptAnyPeer).ClientHandshake(ctx, "", c)
	})
	require.ErrorIs(t, err, ErrQuote)
	require.ErrorIs(t, err, errTPM)
}

type broken struct{ machine }

var errTPM = errors.New("TPM failure mode")

func (broken) Issue(context.Context, []byte, []byte) ([]byte, error) { return nil, errTPM }
