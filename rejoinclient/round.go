package rejoinclient

import (
	"context"
	"errors"

	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// round asks every endpoint once.
type round struct {
	client *Client
	disk   keys.DiskID
	prove  keys.Prove
}

// run fetches the list anew, as the cluster may heal meanwhile, and reports
// whether the wait for a key is over.
func (r round) run(ctx context.Context) bool {
	endpoints, err := r.client.endpoints.JoinEndpoints(ctx)
	if ctx.Err() != nil {
		return true
	}
	if err != nil {
		r.client.log.Warn("Failed to get list with JoinService endpoints", zap.Error(err))
		return false
	}
	r.client.log.Info("Received list with JoinService endpoints", zap.Strings("endpoints", endpoints))
	if r.askAll(ctx, endpoints) || ctx.Err() != nil {
		return true
	}
	r.client.log.Error("Failed to rejoin on all endpoints")
	return false
}

// askAll reports whether one endpoint's candidate ended the wait. The others
// are cancelled then.
func (r round) askAll(ctx context.Context, endpoints []string) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	decided := make(chan struct{}, len(endpoints))
	var inFlight errgroup.Group
	inFlight.SetLimit(maxInFlight)
	for _, endpoint := range endpoints {
		inFlight.Go(func() error {
			if ctx.Err() == nil && r.rejoin(ctx, endpoint) {
				decided <- struct{}{}
				cancel()
			}
			return nil
		})
	}
	_ = inFlight.Wait() // failures are logged per endpoint
	return len(decided) > 0
}

// rejoin reports whether the wait is over, be it by this endpoint's candidate
// or by another source's.
func (r round) rejoin(ctx context.Context, endpoint string) bool {
	log, where := r.client.log, zap.String("endpoint", endpoint)
	log.Info("Requesting rejoin ticket", where)
	err := r.proveTicket(ctx, endpoint)
	switch {
	case err == nil:
		log.Info("Successfully retrieved rejoin ticket", where)
		return true
	case errors.Is(err, keys.ErrDecided):
		return true
	case ctx.Err() == nil: // else the failure is of our own making
		log.Warn("Failed to rejoin on endpoint", zap.String("error", shorten(err.Error())), where)
	}
	return false
}

// shorten bounds what a peer can put into the log.
func shorten(s string) string { return s[:min(len(s), maxLogged)] }

func (r round) proveTicket(ctx context.Context, endpoint string) error {
	pair, err := r.requestTicket(ctx, endpoint)
	if err != nil {
		return err
	}
	defer pair.Wipe()
	return r.prove(ctx, pair)
}

func (r round) requestTicket(ctx context.Context, endpoint string) (keys.Pair, error) {
	ctx, cancel := context.WithTimeout(ctx, r.client.times.answer)
	defer cancel()
	conn, err := dial(endpoint, r.client.issuer, r.client.times.connect, maxRejoinTicket)
	if err != nil {
		return keys.Pair{}, err
	}
	defer conn.Close()
	ticket, err := joinproto.NewAPIClient(conn).IssueRejoinTicket(ctx, &joinproto.IssueRejoinTicketRequest{DiskUuid: r.disk.String()})
	if err != nil {
		return keys.Pair{}, err
	}
	defer clear(ticket.StateDiskKey)
	defer clear(ticket.MeasurementSecret)
	return keys.NewPair(ticket.StateDiskKey, ticket.MeasurementSecret)
}
