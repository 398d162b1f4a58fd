// Package rejoinclient is a key source: it asks the JoinServices of the cluster
// until one of them hands out the key of this node's state disk.
//
// Trust boundary: where a JoinService is said to be is the word of the platform
// or of the measured command line, and unless a policy is given, a JoinService
// does not attest itself. Its answer is a candidate that counts only once it has
// been proven against the disk; a wrong one costs a line in the log. The node
// itself is attested to whom it asks. Judging candidates, and finding endpoints,
// are done elsewhere.
//
// What is bounded, and why, is in docs/decisions/0009-asking-everybody.md.
package rejoinclient

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"

	"go.uber.org/zap"
)

// Endpoints is one source of knowledge about where JoinServices may be.
type Endpoints interface {
	// JoinEndpoints returns HOST:PORT of each, as of now.
	JoinEndpoints(ctx context.Context) ([]string, error)
}

// Client asks JoinServices.
type Client struct {
	sources []Endpoints
	issuer  attestation.Issuer
	server  atls.Policy
	log     *zap.Logger
	times   times
	counts  atomic.Pointer[map[string]int]
}

// New returns a client that attests this node with issuer, accepts JoinServices
// that server accepts, and logs as rejoinClient. Where two sources disagree
// about how many there are to ask, the first come first.
func New(issuer attestation.Issuer, server atls.Policy, log *zap.Logger, sources ...Endpoints) *Client {
	return &Client{sources: sources, issuer: issuer, server: server, log: log.Named("rejoinClient"), times: production}
}

// Offer asks all endpoints, again and again, until a candidate is decided upon
// or ctx ends, and returns nil then. Cancelling ctx ends what is in flight at
// once. Prove may be called from several goroutines.
func (c *Client) Offer(ctx context.Context, disk keys.DiskID, prove keys.Prove) error {
	c.log.Info("Starting RejoinClient")
	defer c.log.Info("RejoinClient stopped")
	ctx, cancel := context.WithCancel(ctx)
	lists := make(chan list)
	var watching sync.WaitGroup
	defer watching.Wait() // nothing outlives the call
	defer cancel()        // runs first
	for rank, source := range c.sources {
		watching.Go(func() { c.watch(ctx, rank, source, lists) })
	}
	newWait(c, disk, prove).run(ctx, lists)
	return nil
}

// Counts says how the wait is going: how many attempts were made, how many
// endpoints are known, and how many of them are in which state. It may be called
// at any time.
func (c *Client) Counts() map[string]int {
	if counts := c.counts.Load(); counts != nil {
		return maps.Clone(*counts)
	}
	return newBook(0).counts()
}

// list is what one source said last.
type list struct {
	rank      int // of the source
	endpoints []string
	err       error
}

// watch asks one source again and again, as the cluster may heal meanwhile. A
// source that fails or hangs holds up no other.
func (c *Client) watch(ctx context.Context, rank int, source Endpoints, lists chan<- list) {
	for pause := c.times.pause; ; pause = min(2*pause, c.times.maxPause) {
		endpoints, err := source.JoinEndpoints(ctx)
		select {
		case lists <- list{rank, endpoints, err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(jitter(pause)):
		case <-ctx.Done():
			return
		}
	}
}
