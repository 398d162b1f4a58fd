package recoveryserver

import (
	"context"
	"errors"

	"disk-mapper/attestation"

	"go.uber.org/zap"
)

// desk makes quotes for strangers one at a time: the TPM is serial, so that the
// rejoin client's handshakes wait there for no more than one of them. It stops
// when the server stops.
type desk struct {
	issuer  attestation.Issuer
	serving context.Context
	queue   queue
	log     *zap.Logger
}

// customer is the issuer for the handshake on one connection.
type customer struct {
	*desk
	conn *cappedConn
}

func (c customer) Variant() attestation.Variant { return c.issuer.Variant() }

// Issue waits for its turn, if there is a place to wait. A node that cannot
// attest itself cannot be recovered, so that is logged here and not only told to
// the peer.
func (c customer) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	defer c.conn.hold()()
	ctx, cancel := context.WithTimeout(ctx, handshakeTime) // then the connection is of no use
	defer cancel()
	defer context.AfterFunc(c.serving, cancel)()
	defer context.AfterFunc(c.conn.gone, cancel)()
	err := c.queue.enter(ctx, c.conn.peer)
	if errors.Is(err, errBusy) {
		c.conn.refuse()
	}
	if err != nil {
		return nil, err
	}
	defer c.queue.leave()
	document, err := c.issuer.Issue(ctx, userData, nonce)
	if err != nil && ctx.Err() == nil {
		c.log.Error("Failed to issue attestation document", zap.Error(err))
	}
	return document, err
}
