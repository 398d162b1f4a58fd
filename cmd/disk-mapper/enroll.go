package main

import (
	"context"
	"fmt"
	"net"

	"disk-mapper/attestation/vtpm"
	"disk-mapper/disk"
	"disk-mapper/internal/keys"
	"disk-mapper/rejoinclient"
	"disk-mapper/setup"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// stateMount is where the booted system mounts the state disk.
const stateMount = "/run/state"

// enroll makes a Prepared disk belong to a cluster.
func enroll(ctx context.Context, o options, status func(string), log *zap.Logger) error {
	status("Joining the cluster")
	path, err := o.awaitStateDisk(ctx)
	if err != nil {
		return err
	}
	d, err := openStateDisk(ctx, path)
	if err != nil {
		return err
	}
	if d.State() != disk.Prepared {
		return fmt.Errorf("%s is %v: only a disk that was formatted and has not joined can be enrolled", d.Path(), d.State())
	}
	if err := mountedFrom(stateMount, mappingPath); err != nil {
		return err
	}
	handover := setup.Handover{Root: "/"}
	current, err := handover.ReadKey()
	if err != nil {
		return err
	}
	defer current.Wipe()
	if err := d.Prove(current); err != nil {
		return err
	}
	tpm, err := startTPM(ctx, vtpm.Open, o.profile.Binding, log)
	if err != nil {
		return err
	}
	defer tpm.Close()
	issuer, err := o.issuer(tpm)
	if err != nil {
		return err
	}
	log = log.Named("enroll")
	metadata := o.metadata()
	policy, err := joinPolicy(joinPolicyFile, o.profile, log)
	if err != nil {
		return err
	}
	awaitNetwork(ctx, net.InterfaceAddrs, log)
	client := rejoinclient.New(issuer, policy, log, o.endpoints(metadata)...)
	t, err := joinServices{metadata: metadata, client: client, disk: d.ID(), cluster: o.cluster, log: log}.ticket(ctx)
	if err != nil {
		return err
	}
	defer t.wipe()
	e := enrolment{register: setup.OneCluster{Register: register{tpm, o.profile.ClusterIDPCR}, ID: o.cluster}, disk: d, writeState: disk.WriteNodeState}
	if err := e.run(ctx, current, t); err != nil {
		return err
	}
	log.Info("Joined the cluster", zap.Stringer("uuid", d.ID()), zap.Stringer("role", t.role))
	return handover.RemoveKey()
}

// mountedFrom makes sure that what is written below dir lands on device.
func mountedFrom(dir, device string) error {
	var at, of unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	if err := unix.Stat(device, &of); err != nil {
		return fmt.Errorf("looking at %s: %w", device, err)
	}
	if at.Dev != of.Rdev {
		return fmt.Errorf("%s is not mounted at %s: mount it first", device, dir)
	}
	return nil
}

// enrolment is the part of a join that changes the node.
type enrolment struct {
	register setup.Register
	disk     interface {
		Enroll(current, final keys.DiskKey, salt keys.MeasurementSalt) error
	}
	writeState func(root, role string, salt keys.MeasurementSalt) error
}

// run is in an order that decides what a power cut leaves: until the last write
// to the header the disk is Prepared, and the next boot formats it; after it,
// the disk is Joined and complete. A failure here needs a reboot: the PCR cannot
// be extended twice.
func (e enrolment) run(ctx context.Context, current keys.DiskKey, t ticket) error {
	if err := e.register.Extend(ctx, t.clusterID); err != nil {
		return err
	}
	if err := e.writeState(stateMount, t.role.String(), t.salt); err != nil {
		return err
	}
	return e.disk.Enroll(current, t.Disk, t.salt)
}
