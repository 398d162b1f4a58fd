// Package faults is what a hostile network does to a server: connections that
// fall silent, abuse of HTTP/2, and floods. It is for tests and benchmarks, and
// connects to loopback only.
package faults

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// errNotLoopback reports an address that is somebody else's.
var errNotLoopback = errors.New("faults are for loopback only")

// Target is a server, and what to say to it.
type Target struct {
	Address string
	Method  string // full name of a gRPC method
	Message []byte // of the method, encoded
}

// Silence is one way to hold a connection open, known by its number in the
// threat list.
type Silence struct {
	Name string
	hold func(Target, net.Conn) error
}

// Silences are G1 to G5.
var Silences = []Silence{
	{"G1 TCP alone", func(Target, net.Conn) error { return nil }},
	{"G2 ClientHello, byte by byte", func(_ Target, conn net.Conn) error { go drip(conn); return nil }},
	{"G3 TLS alone", func(_ Target, conn net.Conn) error { _, err := handshake(conn); return err }},
	{"G4 call without a message", func(t Target, conn net.Conn) error {
		s, err := newSession(conn)
		if err != nil {
			return err
		}
		return s.call(t.Method, 1)
	}},
	{"G5 call with one message", func(t Target, conn net.Conn) error {
		s, err := newSession(conn)
		if err != nil {
			return err
		}
		return errors.Join(s.call(t.Method, 1), s.send(1, t.Message))
	}},
}

// Hold opens a connection from the address source and leaves it in silence.
func (s Silence) Hold(ctx context.Context, target Target, source string) (net.Conn, error) {
	conn, err := Dial(ctx, target.Address, source)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := s.hold(target, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, conn.SetDeadline(time.Time{})
}

const patience = 10 * time.Second

// Dial connects from the address source. Its connections leave nothing behind
// in the kernel when they are closed.
func Dial(ctx context.Context, address, source string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !to.Addr().IsLoopback() {
		return nil, fmt.Errorf("%w: %s", errNotLoopback, address)
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: patience}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn, conn.(*net.TCPConn).SetLinger(0)
}

// Sources are n addresses of loopback, other than its first one.
func Sources(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250)
	}
	return all
}

// drip never gets to the end of the ClientHello that it announces.
func drip(conn net.Conn) {
	for _, b := range append([]byte{22, 3, 1, 2, 0, 1, 0}, make([]byte, 256)...) {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(patience)
	}
}

// handshake speaks attested TLS as far as a client must: any 32 bytes will do as
// the nonce in the server name.
func handshake(conn net.Conn) (*tls.Conn, error) {
	secure := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, ServerName: strings.Repeat("A", 43) + "=", NextProtos: []string{"h2"},
	})
	return secure, secure.Handshake()
}
