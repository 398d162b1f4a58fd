package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"
	"disk-mapper/rejoinclient"

	"go.uber.org/zap"
)

const (
	ticketTimeout = 30 * time.Second // for one endpoint
	ticketPause   = 5 * time.Second  // between two rounds
)

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

// registry is where a node gets its ticket.
type registry struct {
	metadata     cloud.Metadata
	sources      []rejoinclient.Endpoints
	issuer       attestation.Issuer
	joinServices atls.Policy
	disk         keys.DiskID
	log          *zap.Logger
}

// ticket asks until it gets one: a cluster that is just starting is no reason to
// format the disk again. It ends with ctx.
func (r registry) ticket(ctx context.Context) (ticket, error) {
	for {
		t, err := r.ask(ctx)
		if err == nil {
			return t, nil
		}
		r.log.Warn("Failed to get a join ticket, trying again", zap.Error(err))
		select {
		case <-ctx.Done():
			return ticket{}, context.Cause(ctx)
		case <-time.After(ticketPause):
		}
	}
}

// ask is one round over all JoinServices.
func (r registry) ask(ctx context.Context) (ticket, error) {
	self, err := r.metadata.Self(ctx)
	if err != nil {
		return ticket{}, err
	}
	if self.Role == cloud.Unknown {
		return ticket{}, errors.New("the platform's metadata does not say whether this node is a control-plane node or a worker")
	}
	endpoints, failed := r.endpoints(ctx)
	if len(endpoints) == 0 {
		return ticket{}, cmp.Or(failed, errors.New("no JoinService is known"))
	}
	for _, endpoint := range endpoints {
		r.log.Info("Requesting join ticket", zap.String("endpoint", endpoint))
		t, err := r.askEndpoint(ctx, endpoint, self.Role)
		if err == nil {
			return t, nil
		}
		failed = errors.Join(failed, fmt.Errorf("joining at %s: %w", endpoint, err))
	}
	return ticket{}, failed
}

// endpoints are those of all sources, each once. The error says what is missing.
func (r registry) endpoints(ctx context.Context) ([]string, error) {
	var all []string
	var failed error
	for _, source := range r.sources {
		endpoints, err := source.JoinEndpoints(ctx)
		failed = errors.Join(failed, err)
		for _, endpoint := range endpoints {
			if !slices.Contains(all, endpoint) {
				all = append(all, endpoint)
			}
		}
	}
	return all, failed
}

func (r registry) askEndpoint(ctx context.Context, endpoint string, role cloud.Role) (ticket, error) {
	ctx, cancel := context.WithTimeout(ctx, ticketTimeout)
	defer cancel()
	request := &joinproto.IssueJoinTicketRequest{DiskUuid: r.disk.String(), IsControlPlane: role == cloud.ControlPlane}
	response, err := rejoinclient.RequestJoin(ctx, endpoint, r.issuer, r.joinServices, request)
	if err != nil {
		return ticket{}, err
	}
	return newTicket(response, role)
}
