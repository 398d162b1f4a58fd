package joinservice_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/faults"
	"disk-mapper/internal/joinservice"
	"disk-mapper/internal/logging"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// slowly is a TPM that makes one quote at a time.
type slowly struct {
	claimant
	turn  chan struct{}
	takes time.Duration
}

func newSlowly(takes time.Duration) slowly {
	return slowly{"service", make(chan struct{}, 1), takes}
}

func (s slowly) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	time.Sleep(s.takes)
	return s.claimant.Issue(ctx, userData, nonce)
}

// serveOn serves until the test ends; the console is not read from a channel.
func serveOn(t testing.TB, listener net.Listener, self attestation.Issuer) *console {
	t.Helper()
	screen := &console{}
	log := logging.New(screen, 0).Named("joinService")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- joinservice.Serve(ctx, listener, joinservice.NewTickets(vectors["A"].master(t), testSalt(t), log), self, believer("node"), log)
	}()
	t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
	return screen
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

// rejoin is one attempt of a node, from an address.
func rejoin(ctx context.Context, address, source string) error {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(atls.ClientCredentials(claimant("node"), atls.AcceptAnyPeer)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = joinproto.NewAPIClient(conn).IssueRejoinTicket(ctx, &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk})
	return err
}

// under floods until done returns.
func under(t testing.TB, f faults.Flood, done func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	flood.Go(func() { f.Run(ctx) })
	defer flood.Wait()
	defer end()
	done()
}

// One stranger keeps no node from the service, whatever it says. Its 60 connections a
// second are more than a service without fairness could ever catch up with: the test
// ends at once, or never. How fast it is says BenchmarkRejoinUnderFlood.
func TestFloodedJoinServiceServesNodes(t *testing.T) {
	for name, self := range map[string]attestation.Issuer{"unattested": atls.Unattested, "attested": newSlowly(50 * time.Millisecond)} {
		for _, hello := range faults.Hellos {
			t.Run(name+", "+hello.Name, func(t *testing.T) {
				listener := listen(t)
				screen := serveOn(t, listener, self)
				flood := faults.Flood{Target: faults.Target{Address: listener.Addr().String()}, Silence: hello, Sources: []string{"127.0.0.9"}, Rate: 60, Open: 1000}
				for range 600 { // more than there are connections
					conn, err := hello.Hold(t.Context(), flood.Target, flood.Sources[0])
					if err == nil {
						defer conn.Close()
					}
				}
				under(t, flood, func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					require.NoError(t, rejoin(ctx, listener.Addr().String(), "127.0.0.1"))
				})
				assert.NotContains(t, screen.String(), `"level":"ERROR"`)
			})
		}
	}
}

// refused shakes hands as a node that is not to be believed, with a document of some
// size, and waits for the verdict.
func refused(t testing.TB, address, source string, certificate *tls.Certificate) {
	conn, err := faults.Dial(t.Context(), address, source)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	client := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, ServerName: strings.Repeat("A", 43) + "=", NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil },
	})
	if client.Handshake() == nil {
		_, _ = client.Read(make([]byte, 1))
	}
}

// newCertificate has one extension, of an OID and with a value.
func newCertificate(t testing.TB, extension pkix.Extension) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{extension}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// However many are refused, the log stays short; a node of another network that is
// refused has its own line.
func TestStrangersCannotFillTheLog(t *testing.T) {
	listener := listen(t)
	screen := serveOn(t, listener, atls.Unattested)
	stranger := newCertificate(t, pkix.Extension{Id: attestation.QEMUVTPM.OID(), Value: []byte(strings.Repeat("\x1b\\", 10000))})
	for range 60 {
		refused(t, listener.Addr().String(), "127.0.0.9", stranger)
	}
	require.NotZero(t, strings.Count(screen.String(), "Refused connection"))
	assert.LessOrEqual(t, strings.Count(screen.String(), "\n"), 20)
	assert.LessOrEqual(t, len(screen.String()), 20<<10)
	refused(t, listener.Addr().String(), "127.0.0.1", stranger)
	require.Eventually(t, func() bool { return strings.Contains(screen.String(), `"peer":"127.0.0.1:`) }, 5*time.Second, time.Millisecond)
	for range 15 {
		require.NoError(t, rejoin(t.Context(), listener.Addr().String(), "127.0.0.9"))
	}
	assert.Equal(t, 15, strings.Count(screen.String(), "Issued ticket"), "nodes that have attested themselves are exempt")
}
