package atls

import (
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

	"google.golang.org/grpc/credentials"
)

// ServerCredentials attest this side with self and decide about clients. Only
// with a policy that requires something is the client asked for a certificate.
func ServerCredentials(self attestation.Issuer, clients Policy) credentials.TransportCredentials {
	return server{self: self, clients: clients}
}

// ClientCredentials attest this side with self, if the server asks for it, and
// decide about the server. They ignore the name that was dialed: the server
// name is the nonce.
func ClientCredentials(self attestation.Issuer, server Policy) credentials.TransportCredentials {
	return client{self: self, server: server, refusal: new(atomic.Pointer[refused])}
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
}

func (s server) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	// grpc hands over no context. The validator must not outlast the
	// handshake, nor the handshake two documents, so it has a bound of its own.
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
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
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		peer, err := clientNonce(hello)
		if err != nil {
			return nil, err
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
	self   attestation.Issuer
	server Policy
	// refusal is shared by all clones.
	refusal *atomic.Pointer[refused]
}

func (c client) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	conn := tls.Client(raw, c.config(ctx))
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
		return nil, fmt.Errorf("attested TLS: %w", err)
	}
	state := conn.ConnectionState()
	if !slices.Contains(protocols, state.NegotiatedProtocol) {
		return nil, errors.New("attested TLS: peer does not speak HTTP/2")
	}
	info := credentials.TLSInfo{State: state}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return info, nil
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
