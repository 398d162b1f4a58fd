package recoveryserver

import (
	"context"
	"errors"
	"net"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/sshproof"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// handshakes attest this node to each connection. They write a line per failed
// one, for debugging only: a load balancer's health checks fail every few seconds,
// strangers at will. A node that cannot attest itself cannot be recovered, so that
// is an error.
type handshakes struct {
	credentials.TransportCredentials
	lines *callerLines
}

// AcceptAnyPeer: the operator's machine has nothing to attest. What a caller
// brings is proven against the disk instead.
func newHandshakes(issuer attestation.Issuer, operators sshproof.Keys, lines *callerLines) handshakes {
	shared := fairlistener.Handshakes{Self: issuer, Peers: atls.AcceptAnyPeer}
	if !operators.Empty() {
		shared.Named = operators.Hellos().Proven
	}
	return handshakes{shared.Credentials(), lines}
}

func (h handshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	if err == nil {
		return conn, info, nil
	}
	log, address := h.lines.about(raw.(*fairlistener.Conn)), zap.String("peer.address", raw.RemoteAddr().String())
	if errors.Is(err, fairlistener.ErrQuote) {
		log.Error("Failed to issue attestation document", address, fairlistener.Reason(err))
	} else {
		log.Debug("Refused connection", address, fairlistener.Reason(err))
	}
	return nil, nil, err
}

func (h handshakes) Clone() credentials.TransportCredentials { return h }

// connection is the one that a call came over.
func connection(ctx context.Context) *fairlistener.Conn { return info(ctx).Conn }

func info(ctx context.Context) fairlistener.AuthInfo {
	p, _ := peer.FromContext(ctx) // gRPC has seen to both
	return p.AuthInfo.(fairlistener.AuthInfo)
}
