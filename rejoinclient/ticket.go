package rejoinclient

import (
	"context"
	"sync"

	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"go.uber.org/zap"
)

// wanted is what a wait asks JoinServices for, and what the log says of it.
type wanted interface {
	longest() int // bytes of a ticket
	request(ctx context.Context, service joinproto.APIClient) (response, error)
	// accept fails for a ticket that is not the one. It may be called from several
	// goroutines.
	accept(ctx context.Context, endpoint string, t response) error

	// The lines of the log are whole calls, which docs/operations.md is held against.
	asking(log *zap.Logger, endpoint string)
	failed(log *zap.Logger, why, endpoint string)
	failedAll(log *zap.Logger, counts ...zap.Field)
	got(log *zap.Logger, endpoint string)
}

// response is one of the two kinds of tickets.
type response struct {
	rejoin *joinproto.IssueRejoinTicketResponse
	join   *joinproto.IssueJoinTicketResponse
}

func (r response) clear() {
	clear(r.rejoin.GetStateDiskKey())
	clear(r.rejoin.GetMeasurementSecret())
	clear(r.join.GetStateDiskKey())
	clear(r.join.GetMeasurementSecret())
}

// rejoining wants the key of a disk that belongs to a node of the cluster.
type rejoining struct {
	disk  keys.DiskID
	prove keys.Prove
}

func (rejoining) longest() int { return maxRejoinTicket }

func (r rejoining) request(ctx context.Context, service joinproto.APIClient) (response, error) {
	ticket, err := service.IssueRejoinTicket(ctx, &joinproto.IssueRejoinTicketRequest{DiskUuid: r.disk.String()})
	return response{rejoin: ticket}, err
}

func (r rejoining) accept(ctx context.Context, endpoint string, t response) error {
	pair, err := keys.NewPair(t.rejoin.GetStateDiskKey(), t.rejoin.GetMeasurementSecret())
	if err != nil {
		return err
	}
	defer pair.Wipe()
	pair.Sender = endpoint
	return r.prove(ctx, pair)
}

func (rejoining) asking(log *zap.Logger, endpoint string) {
	log.Info("Requesting rejoin ticket", zap.String("endpoint", endpoint))
}

func (rejoining) failed(log *zap.Logger, why, endpoint string) {
	log.Warn("Failed to rejoin on endpoint", zap.String("error", why), zap.String("endpoint", endpoint))
}

func (rejoining) failedAll(log *zap.Logger, counts ...zap.Field) {
	log.Error("Failed to rejoin on all endpoints", counts...)
}

func (rejoining) got(log *zap.Logger, endpoint string) {
	log.Info("Successfully retrieved rejoin ticket", zap.String("endpoint", endpoint))
}

// joining wants what a new node needs.
type joining struct {
	question *joinproto.IssueJoinTicketRequest
	take     func(*joinproto.IssueJoinTicketResponse) error
	mu       sync.Mutex
	taken    bool
}

func (*joining) longest() int { return maxJoinTicket }

func (j *joining) request(ctx context.Context, service joinproto.APIClient) (response, error) {
	ticket, err := service.IssueJoinTicket(ctx, j.question)
	return response{join: ticket}, err
}

// accept takes one ticket only. What other JoinServices have answered meanwhile is
// cleared unread: the first complete ticket is all of one cluster.
func (j *joining) accept(_ context.Context, _ string, t response) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.taken {
		return keys.ErrDecided
	}
	err := j.take(t.join)
	j.taken = err == nil
	return err
}

func (*joining) asking(log *zap.Logger, endpoint string) {
	log.Info("Requesting join ticket", zap.String("endpoint", endpoint))
}

func (*joining) failed(log *zap.Logger, why, endpoint string) {
	log.Warn("Failed to join on endpoint", zap.String("error", why), zap.String("endpoint", endpoint))
}

func (*joining) failedAll(log *zap.Logger, counts ...zap.Field) {
	log.Error("Failed to join on all endpoints", counts...)
}

func (*joining) got(log *zap.Logger, endpoint string) {
	log.Info("Successfully retrieved join ticket", zap.String("endpoint", endpoint))
}
