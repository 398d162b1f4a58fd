package recoveryserver

import (
	"context"

	"disk-mapper/attestation"

	"go.uber.org/zap"
)

// turnstile lets maxQuotes handshakes at a time have the issuer, so that those
// of strangers do not queue up before the rejoin client's at the TPM. It stops
// issuing when the server stops.
type turnstile struct {
	attestation.Issuer
	serving context.Context
	turn    chan struct{}
	log     *zap.Logger
}

// Issue waits for its turn. A node that cannot attest itself cannot be
// recovered, so that is logged here and not only told to the peer.
func (t *turnstile) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.serving, cancel)()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	document, err := t.Issuer.Issue(ctx, userData, nonce)
	if err != nil && ctx.Err() == nil {
		t.log.Error("Failed to issue attestation document", zap.Error(err))
	}
	return document, err
}
