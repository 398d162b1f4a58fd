package recoveryserver

import (
	"context"
	"crypto/tls"
	"net"

	"disk-mapper/attestation/atls"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// handshakes attest this node to each connection, and let calls know their
// connection. They write a line per failed one, for debugging only: a load
// balancer's health checks fail every few seconds, strangers at will.
type handshakes struct {
	credentials.TransportCredentials // for what is not a handshake
	desk                             *desk
	log                              *zap.Logger
}

// AcceptAnyPeer: the operator's machine has nothing to attest. What a caller
// brings is proven against the disk instead.
func newHandshakes(desk *desk, log *zap.Logger) handshakes {
	return handshakes{atls.ServerCredentials(desk.issuer, atls.AcceptAnyPeer), desk, log}
}

// authInfo is what a call knows of its connection.
type authInfo struct {
	credentials.TLSInfo
	conn *cappedConn
}

func (h handshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	own := raw.(*cappedConn) // from our listener
	own.makeRoom()
	creds := atls.ServerCredentials(customer{h.desk, own}, atls.AcceptAnyPeer)
	conn, info, err := creds.ServerHandshake(raw)
	if err != nil {
		h.log.Debug("Refused connection", zap.String("peer.address", raw.RemoteAddr().String()), zap.Error(err))
		return nil, nil, err
	}
	own.progress()
	return conn, authInfo{info.(credentials.TLSInfo), own}, nil
}

func (h handshakes) Clone() credentials.TransportCredentials { return h }

// connection is the one that a call came over.
func connection(ctx context.Context) *cappedConn { return info(ctx).conn }

// session is the TLS session that a call came over.
func session(ctx context.Context) tls.ConnectionState { return info(ctx).State }

func info(ctx context.Context) authInfo {
	p, _ := peer.FromContext(ctx) // gRPC has seen to both
	return p.AuthInfo.(authInfo)
}
