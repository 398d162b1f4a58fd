// Package rejoinclient asks the JoinServices of the cluster until one of them hands
// out what this node needs: as a key source, the key of its state disk; on a first
// boot, the ticket with which a new node joins.
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
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

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
// that server accepts. Where two sources disagree about how many there are to ask,
// the first come first.
func New(issuer attestation.Issuer, server atls.Policy, log *zap.Logger, sources ...Endpoints) *Client {
	return &Client{sources: sources, issuer: issuer, server: server, log: log, times: production}
}

// Offer asks all endpoints, again and again, until a candidate is decided upon
// or ctx ends, and returns nil then. Cancelling ctx ends what is in flight at
// once. Prove may be called from several goroutines; candidates name their endpoint
// as sender. It logs as rejoinClient.
func (c *Client) Offer(ctx context.Context, disk keys.DiskID, prove keys.Prove) error {
	log := c.log.Named("rejoinClient")
	log.Info("Starting RejoinClient")
	defer log.Info("RejoinClient stopped")
	c.ask(ctx, rejoining{disk: disk, prove: prove}, log)
	return nil
}

// Join asks all endpoints in the same way, until take has returned nil or ctx ends,
// and fails then with the cause. Several JoinServices may answer: take is called
// with one ticket at a time, and with none after the first that it has accepted.
// The secrets in a ticket are cleared when take returns. It refuses a disk UUID that
// is not canonical with keys.ErrDiskID.
func (c *Client) Join(ctx context.Context, request *joinproto.IssueJoinTicketRequest, take func(*joinproto.IssueJoinTicketResponse) error) error {
	if _, err := keys.ParseDiskID(request.GetDiskUuid()); err != nil {
		return fmt.Errorf("requesting a join ticket: %w", err)
	}
	wanted := &joining{question: request, take: take}
	c.ask(ctx, wanted, c.log)
	if !wanted.taken {
		return context.Cause(ctx)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, wanted wanted, log *zap.Logger) {
	ctx, cancel := context.WithCancel(ctx)
	lists := make(chan list)
	var watching sync.WaitGroup
	defer watching.Wait() // nothing outlives the call
	defer cancel()        // runs first
	for rank, source := range c.sources {
		watching.Go(func() { c.watch(ctx, rank, source, lists) })
	}
	newWait(c, wanted, log).run(ctx, lists)
}

// Counts says how the wait is going: how many attempts were made, how many
// endpoints are known, and how many of them are in which state. It may be called
// at any time.
func (c *Client) Counts() map[string]int {
	if counts := c.counts.Load(); counts != nil {
		return maps.Clone(*counts)
	}
	return newSchedule(0).counts()
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
