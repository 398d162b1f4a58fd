// Package rejoinclient is a key source: it asks the JoinServices of the cluster
// until one of them hands out the key of this node's state disk.
//
// Trust boundary: a JoinService does not attest itself, and where it is said to
// be is the word of the platform. Its answer is a candidate that counts only
// once it has been proven against the disk; a wrong one costs a line in the
// log. The node itself is attested to whom it asks. Judging candidates, and
// finding endpoints, are done elsewhere.
package rejoinclient

import (
	"context"
	"math/rand/v2"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/keys"

	"go.uber.org/zap"
)

// Endpoints knows where JoinServices may be.
type Endpoints interface {
	// JoinEndpoints returns HOST:PORT of each, as of now.
	JoinEndpoints(ctx context.Context) ([]string, error)
}

// Client asks JoinServices.
type Client struct {
	endpoints Endpoints
	issuer    attestation.Issuer
	log       *zap.Logger
	times     times
}

// New returns a client that attests this node with issuer and logs as
// rejoinClient.
func New(endpoints Endpoints, issuer attestation.Issuer, log *zap.Logger) *Client {
	return &Client{endpoints: endpoints, issuer: issuer, log: log.Named("rejoinClient"), times: production}
}

// Offer asks all endpoints, round after round, until a candidate is decided
// upon or ctx ends, and returns nil then. Cancelling ctx ends what is in flight
// at once. Prove may be called from several goroutines.
func (c *Client) Offer(ctx context.Context, disk keys.DiskID, prove keys.Prove) error {
	c.log.Info("Starting RejoinClient")
	defer c.log.Info("RejoinClient stopped")
	r := round{client: c, disk: disk, prove: prove}
	for pause := c.times.pause; ; pause = min(2*pause, c.times.maxPause) {
		if r.run(ctx) || ctx.Err() != nil {
			return nil
		}
		select {
		case <-time.After(jitter(pause)):
		case <-ctx.Done():
			return nil
		}
	}
}

// jitter spreads nodes that were restarted together: half to all of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
