package main

import (
	"context"
	"errors"
	"fmt"

	"disk-mapper/attestation/vtpm"
	"disk-mapper/disk"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"
	"disk-mapper/rejoinclient"
	"disk-mapper/setup"

	"go.uber.org/zap"
)

// stateMount is where the booted system mounts the state disk.
const stateMount = "/run/state"

// enroll makes a Prepared disk belong to a cluster.
func enroll(ctx context.Context, o options, status func(string), log *zap.Logger) error {
	status("Joining the cluster")
	d, err := openStateDisk(ctx, o.platform.stateDisk[o.profile.Name], markers[o.profile.Name])
	if err != nil {
		return err
	}
	if d.State() != disk.Prepared {
		return fmt.Errorf("%s is %v: only a disk that was formatted and has not joined can be enrolled", d.Path(), d.State())
	}
	handover := setup.Handover{Root: "/"}
	current, err := handover.ReadKey()
	if err != nil {
		return err
	}
	defer current.Wipe()
	if err := d.Prove(ctx, current); err != nil {
		return err
	}
	tpm, err := vtpm.Open()
	if err != nil {
		return err
	}
	defer tpm.Close()
	e := enrolment{options: o, disk: d, tpm: tpm, metadata: o.platform.metadata(), log: log.Named("enroll")}
	if err := e.run(ctx, current); err != nil {
		return err
	}
	return handover.RemoveKey()
}

// enrolment is one node's way into its cluster.
type enrolment struct {
	options
	disk     *stateDisk
	tpm      *vtpm.TPM
	metadata cloud.Metadata
	log      *zap.Logger
}

// run is in an order that decides what a power cut leaves: until the last write
// to the header the disk is Prepared, and the next boot formats it; after it,
// the disk is Joined and complete.
func (e enrolment) run(ctx context.Context, current keys.DiskKey) error {
	self, err := e.metadata.Self(ctx)
	if err != nil {
		return err
	}
	t, err := e.requestTicket(ctx, self.Role)
	if err != nil {
		return err
	}
	defer t.Wipe()
	if err := (register{e.tpm, e.profile.ClusterIDPCR}).Extend(ctx, t.clusterID); err != nil {
		return err
	}
	if err := disk.WriteNodeState(stateMount, self.Role.String(), t.salt); err != nil {
		return err
	}
	if err := e.disk.Enroll(ctx, current, t.Disk, t.salt); err != nil {
		return err
	}
	e.log.Info("Joined the cluster", zap.Stringer("uuid", e.disk.ID()), zap.Stringer("role", self.Role))
	return nil
}

// requestTicket asks the JoinServices in turn.
func (e enrolment) requestTicket(ctx context.Context, role cloud.Role) (ticket, error) {
	endpoints, err := e.endpoints(ctx)
	if err != nil {
		return ticket{}, err
	}
	request := &joinproto.IssueJoinTicketRequest{DiskUuid: e.disk.ID().String(), IsControlPlane: role == cloud.ControlPlane}
	issuer := e.tpm.Issuer(e.profile.Binding)
	var failed error
	for _, endpoint := range endpoints {
		e.log.Info("Requesting join ticket", zap.String("endpoint", endpoint))
		response, err := rejoinclient.RequestJoin(ctx, endpoint, issuer, request)
		if err == nil {
			return newTicket(response)
		}
		failed = errors.Join(failed, fmt.Errorf("joining at %s: %w", endpoint, err))
	}
	return ticket{}, failed
}

func (e enrolment) endpoints(ctx context.Context) ([]string, error) {
	if e.endpoint != "" {
		return []string{e.endpoint}, nil
	}
	return cloud.Peers(e.metadata).JoinEndpoints(ctx)
}

// ticket is what a join ticket says about the disk.
type ticket struct {
	keys.Pair
	salt      keys.MeasurementSalt
	clusterID keys.ClusterID
}

// newTicket fails unless all parts have their exact lengths.
func newTicket(r *joinproto.IssueJoinTicketResponse) (ticket, error) {
	pair, err := keys.NewPair(r.GetStateDiskKey(), r.GetMeasurementSecret())
	if err != nil {
		return ticket{}, fmt.Errorf("join ticket: %w", err)
	}
	salt, err := keys.NewMeasurementSalt(r.GetMeasurementSalt())
	if err != nil {
		return ticket{}, fmt.Errorf("join ticket: %w", err)
	}
	id, err := keys.NewClusterID(pair.Measurement, salt)
	return ticket{pair, salt, id}, err
}
