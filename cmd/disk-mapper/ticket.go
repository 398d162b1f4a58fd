package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"
	"disk-mapper/proto/joinproto"
	"disk-mapper/rejoinclient"
	"disk-mapper/setup"

	"go.uber.org/zap"
)

// rolePause is how long the platform is left alone that does not know this node's role.
const rolePause = 5 * time.Second

// ticket is what a join ticket says about the disk, and the role it was asked for.
type ticket struct {
	keys.Pair
	salt      keys.MeasurementSalt
	clusterID keys.ClusterID
	role      cloud.Role
}

func (t ticket) wipe() { t.Pair.Wipe(); t.clusterID.Wipe() }

// newTicket fails unless all parts have their exact lengths. It clears the
// response.
func newTicket(r *joinproto.IssueJoinTicketResponse, role cloud.Role) (ticket, error) {
	defer clear(r.GetStateDiskKey())
	defer clear(r.GetMeasurementSecret())
	t := ticket{role: role}
	var pairErr, saltErr, idErr error
	t.Pair, pairErr = keys.NewPair(r.GetStateDiskKey(), r.GetMeasurementSecret())
	t.salt, saltErr = keys.NewMeasurementSalt(r.GetMeasurementSalt())
	if pairErr == nil && saltErr == nil {
		t.clusterID, idErr = keys.NewClusterID(t.Measurement, t.salt)
	}
	if err := errors.Join(pairErr, saltErr, idErr); err != nil {
		t.wipe()
		return ticket{}, fmt.Errorf("join ticket: %w", err)
	}
	return t, nil
}

// joinServices are where a new node gets its ticket.
type joinServices struct {
	metadata cloud.Metadata
	client   *rejoinclient.Client
	disk     keys.DiskID
	// cluster is the only one whose tickets are taken; the zero value is any.
	cluster keys.ClusterID
	log     *zap.Logger
}

// ticket asks until it gets one: a cluster that is just starting is no reason to
// format the disk again, nor is a JoinService of another cluster that is faster. It
// ends with ctx.
func (j joinServices) ticket(ctx context.Context) (ticket, error) {
	role, err := j.role(ctx)
	if err != nil {
		return ticket{}, err
	}
	var first ticket
	request := &joinproto.IssueJoinTicketRequest{DiskUuid: j.disk.String(), IsControlPlane: role == cloud.ControlPlane}
	err = j.client.Join(ctx, request, func(response *joinproto.IssueJoinTicketResponse) (err error) {
		first, err = newTicket(response, role)
		if err == nil {
			err = setup.OneCluster{ID: j.cluster}.Check(first.clusterID)
		}
		if err != nil {
			first.wipe()
		}
		return err
	})
	return first, err
}

// role asks the platform until it knows: the ticket depends on it.
func (j joinServices) role(ctx context.Context) (cloud.Role, error) {
	for {
		self, err := j.metadata.Self(ctx)
		switch {
		case err == nil && self.Role != cloud.Unknown:
			return self.Role, nil
		case err == nil:
			err = errors.New("the platform's metadata does not say whether this node is a control-plane node or a worker")
		}
		j.log.Warn("Failed to get a join ticket, trying again", zap.Error(printable.Error(err)))
		select {
		case <-ctx.Done():
			return cloud.Unknown, context.Cause(ctx)
		case <-time.After(rolePause):
		}
	}
}
