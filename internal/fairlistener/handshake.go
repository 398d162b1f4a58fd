package fairlistener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"

	"google.golang.org/grpc/credentials"
)

// ErrQuote reports that this machine failed to attest itself, whatever the peer did.
var ErrQuote = errors.New("failed to issue our attestation document")

// Handshakes say how peers and this machine prove themselves to each other.
type Handshakes struct {
	Self  attestation.Issuer
	Peers atls.Policy
	// Named says who goes before strangers, by the ClientHello: all that is known
	// of a peer at that time, and visible to everybody on the way. Nil means nobody.
	Named func(*tls.ClientHelloInfo) bool
}

// AuthInfo is what a call knows of its connection.
type AuthInfo struct {
	credentials.TLSInfo
	Conn *Conn
}

// Credentials are for a server of a Listener, and no other. Their AuthInfo is an
// AuthInfo. They log nothing: an error of ServerHandshake says why a peer was
// refused.
func (h Handshakes) Credentials() credentials.TransportCredentials {
	return transport{atls.ServerCredentials(h.Self, h.Peers), h}
}

type transport struct {
	credentials.TransportCredentials // for what is not a handshake
	Handshakes
}

func (t transport) Clone() credentials.TransportCredentials { return t }

func (t transport) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	own, ok := raw.(*Conn)
	if !ok {
		return nil, nil, errors.Join(errors.New("fairlistener: not a connection of a Listener"), raw.Close())
	}
	own.makeRoom()
	defer own.judged()
	if err := own.SetDeadline(time.Now().Add(helloTime)); err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	conn, info, err := atls.OneHandshake(t.issuer(own), t.Peers.Around(own.judge), atls.Steps{
		Context: own.network.In(own.gone),
		Hello:   func(hello *tls.ClientHelloInfo) error { return t.greet(own, hello) },
	}).ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	own.Progress()
	return conn, AuthInfo{info.(credentials.TLSInfo), own}, own.SetDeadline(time.Now().Add(prefaceTime))
}

// greet notes that a peer has sent its ClientHello, in time, and waits for the turn
// to answer it.
func (t transport) greet(own *Conn, hello *tls.ClientHelloInfo) error {
	named := t.Named != nil && t.Named(hello)
	own.change(func() { own.greeted, own.named = true, named })
	if err := own.enterAnswer(); err != nil {
		return err
	}
	return own.SetDeadline(time.Now().Add(certificateTime))
}

// issuer is the one for the handshake on one connection.
func (t transport) issuer(own *Conn) attestation.Issuer {
	if t.Self == atls.Unattested {
		return t.Self // costs no quote
	}
	return quoting{t.Self, own}
}

// quoting makes quotes for strangers one at a time: the TPM is serial, so that
// the machine's own handshakes wait there for no more than one of them.
type quoting struct {
	attestation.Issuer
	conn *Conn
}

// Issue waits for its turn, if there is a place to wait, for as long as the peer
// stays. The peer's own time starts when it has the quote.
func (q quoting) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	defer q.conn.Hold()()
	q.conn.endAnswer()
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	ctx, stop := q.conn.whileConnected(ctx, maxEarly)
	document, err := q.inTurn(ctx, userData, nonce)
	stop()
	if err != nil {
		return nil, err
	}
	return document, q.conn.SetDeadline(time.Now().Add(certificateTime))
}

func (q quoting) inTurn(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	queue := q.conn.listener.quotes
	if err := q.conn.enter(ctx, queue, "for a quote"); err != nil {
		return nil, err
	}
	defer queue.Leave(q.conn.network)
	document, err := q.Issuer.Issue(ctx, userData, nonce)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w: %w", ErrQuote, err)
	}
	return document, err
}
