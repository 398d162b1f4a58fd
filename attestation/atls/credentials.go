package atls

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/printable"

	"google.golang.org/grpc/credentials"
)

// ServerCredentials attest this side with self and decide about clients. Only
// with a policy that requires something is the client asked for a certificate.
func ServerCredentials(self attestation.Issuer, clients Policy) credentials.TransportCredentials {
	return server{self: self, clients: clients}
}

// Steps follow one handshake of a server. Each member may be nil.
type Steps struct {
	// Context ends the handshake, and with it the work of issuer and validator.
	Context context.Context
	// Hello is called with the whole ClientHello, before anything is made for the
	// client. Its error ends the handshake.
	Hello func(*tls.ClientHelloInfo) error
}

// OneHandshake returns the ServerCredentials for one connection.
func OneHandshake(self attestation.Issuer, clients Policy, steps Steps) credentials.TransportCredentials {
	return server{self: self, clients: clients, steps: steps}
}

// ClientCredentials attest this side with self, if the server asks for it, and
// decide about the server. They ignore the name that was dialed: the server
// name is the nonce.
func ClientCredentials(self attestation.Issuer, server Policy) credentials.TransportCredentials {
	return Introduced(self, server, nil)
}

// Introduced are ClientCredentials that also say something in the ClientHello:
// introduce is asked for names of protocols that follow "h2" there, and told the
// server name, which no other ClientHello has. Servers ignore names that they do not
// know; everybody on the way can read them.
func Introduced(self attestation.Issuer, server Policy, introduce func(serverName string) ([]string, error)) credentials.TransportCredentials {
	return client{self: self, server: server, introduce: introduce, refusal: new(atomic.Pointer[refused])}
}

// Refusal returns why the last handshake of creds, made by ClientCredentials,
// ended with the refusal of a server that was there (ErrRefused, and what the
// validator said). It is nil if the last handshake went well or failed for
// another reason, or if there was none.
func Refusal(creds credentials.TransportCredentials) error {
	if c, ok := creds.(client); ok {
		if refusal := c.refusal.Load(); refusal != nil {
			return refusal
		}
	}
	return nil
}

// lingering bounds how long a refused client may take to see why.
const lingering = time.Second

type server struct {
	self    attestation.Issuer
	clients Policy
	steps   Steps
}

func (s server) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	// grpc hands over no context. The validator must not outlast the
	// handshake, nor the handshake two documents, so it has a bound of its own.
	ctx, cancel := context.WithTimeout(cmp.Or(s.steps.Context, context.Background()), 2*Patience)
	defer cancel()
	config, err := s.config(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	conn := tls.Server(raw, config)
	info, err := shake(ctx, conn, "h2")
	if errors.Is(err, ErrRefused) {
		linger(raw)
	}
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	return conn, info, nil
}

// linger lets the alert arrive: to close while the client's first request is
// unread would reset the connection, and the client would not learn why.
func linger(raw net.Conn) {
	_ = raw.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.CopyN(io.Discard, raw, 64<<10)
}

func (s server) config(ctx context.Context) (*tls.Config, error) {
	own := newNonce()
	config := newConfig()
	// What clients of all releases offer. The client chooses, and others cost ten times as much.
	config.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256}
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		peer, err := clientNonce(hello)
		if err != nil {
			return nil, err
		}
		if s.steps.Hello != nil {
			if err := s.steps.Hello(hello); err != nil {
				return nil, err
			}
		}
		return certify(hello.Context(), s.self, peer)
	}
	if s.clients.anyPeer {
		return config, nil
	}
	authority, err := own.authority()
	if err != nil {
		return nil, err
	}
	config.ClientCAs = authority
	config.ClientAuth = tls.RequireAnyClientCert // judged below
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return s.clients.check(ctx, state.PeerCertificates, own)
	}
	return config, nil
}

type client struct {
	self      attestation.Issuer
	server    Policy
	introduce func(serverName string) ([]string, error)
	// refusal is shared by all clones.
	refusal *atomic.Pointer[refused]
}

func (c client) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	config := c.config(ctx)
	if c.introduce != nil {
		names, err := c.introduce(config.ServerName)
		if err != nil {
			return nil, nil, errors.Join(err, raw.Close())
		}
		config.NextProtos = append(config.NextProtos, names...)
	}
	conn := tls.Client(raw, config)
	// Servers of before ALPN answer nothing to it; what they speak is HTTP/2.
	info, err := shake(ctx, conn, "h2", "")
	refusal, _ := errors.AsType[*refused](err)
	c.refusal.Store(refusal)
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	return conn, info, nil
}

func (c client) config(ctx context.Context) *tls.Config {
	own := newNonce()
	config := newConfig()
	config.ServerName = own.String()
	config.InsecureSkipVerify = true // there are no authorities; judged below
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return c.server.check(ctx, state.PeerCertificates, own)
	}
	config.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		peer, err := serverNonce(request)
		if err != nil {
			return nil, err
		}
		return certify(request.Context(), c.self, peer)
	}
	return config
}

// newConfig has no tickets, and VerifyConnection runs on resumed connections
// too: there is no way around the policy.
func newConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
	}
}

// shake accepts the protocols of the application that it is told.
func shake(ctx context.Context, conn *tls.Conn, protocols ...string) (credentials.AuthInfo, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, failed(err)
	}
	state := conn.ConnectionState()
	if !slices.Contains(protocols, state.NegotiatedProtocol) {
		return nil, errors.New("attested TLS: peer does not speak HTTP/2")
	}
	info := credentials.TLSInfo{State: state}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return info, nil
}

// failed bounds the words of the library, which quotes the peer's certificate at
// any length. Ours are bounded where they are made.
func failed(err error) error {
	if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrNonce) {
		err = printable.Error(err)
	}
	return fmt.Errorf("attested TLS: %w", err)
}

var (
	errNotClient = errors.New("server credentials cannot dial")
	errNotServer = errors.New("client credentials cannot serve")
)

func (server) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errNotClient
}

func (client) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errNotServer
}

func (s server) Clone() credentials.TransportCredentials { return s }
func (c client) Clone() credentials.TransportCredentials { return c }

func (server) Info() credentials.ProtocolInfo { return info() }
func (client) Info() credentials.ProtocolInfo { return info() }

func info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// OverrideServerName does nothing: the server name is the nonce.
func (server) OverrideServerName(string) error { return nil }

// OverrideServerName does nothing: the server name is the nonce.
func (client) OverrideServerName(string) error { return nil }
