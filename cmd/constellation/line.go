package main

import (
	"context"
	"net"
	"sync"

	"disk-mapper/internal/dial"

	"google.golang.org/grpc/credentials"
)

// line watches the connection of one attempt come up and keeps the error that
// stopped it, which gRPC would hand on as text only.
type line struct {
	dialer dial.Dialer

	mu    sync.Mutex
	fault error
}

// dialFault is an error from before the first byte, handshakeFault one from
// attested TLS.
type (
	dialFault      struct{ error }
	handshakeFault struct{ error }
)

func (f dialFault) Unwrap() error      { return f.error }
func (f handshakeFault) Unwrap() error { return f.error }

// lastFault is nil if the connection came up.
func (l *line) lastFault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault
}

func (l *line) set(fault error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

func (l *line) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := l.dialer.TCP(ctx, address)
	if err != nil {
		l.set(dialFault{err})
	}
	return conn, err
}

func (l *line) watch(creds credentials.TransportCredentials) credentials.TransportCredentials {
	return watchedHandshake{creds, l}
}

type watchedHandshake struct {
	credentials.TransportCredentials
	line *line
}

func (w watchedHandshake) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		w.line.set(handshakeFault{err})
	}
	return conn, info, err
}

func (w watchedHandshake) Clone() credentials.TransportCredentials {
	return watchedHandshake{w.TransportCredentials.Clone(), w.line}
}
