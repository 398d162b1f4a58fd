package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/logging"
	"disk-mapper/recoveryserver"
	"disk-mapper/rejoinclient"
	"disk-mapper/setup"

	"go.uber.org/zap"
)

// version is set by the build.
var version = "development"

const (
	recoveryAddress = ":9999"
	kernelLine      = "/proc/cmdline"
)

// run does what args ask for and returns the exit status: 0 done, 1 failed, or
// one of inspect. Its log goes to stderr, with one error if it fails.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "inspect":
			return inspect(ctx, args[1:], stdout, stderr)
		case "grow":
			return grow(ctx, args[1:], notifier(getenv("NOTIFY_SOCKET")), stderr)
		case "status":
			return status(args[1:], stdout, stderr)
		}
	}
	kernel, unreadable := os.ReadFile(kernelLine) // may hold what makes the daemon stricter
	o, err := parseOptions(args, getenv, string(kernel), stderr)
	if unreadable != nil && !errors.Is(err, flag.ErrHelp) {
		err = fmt.Errorf("kernel command line: %w", unreadable)
	}
	log := logging.New(stderr, o.verbosity)
	defer func() { _ = log.Sync() }() // the console cannot be synced
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		log.Error("Invalid options", zap.Error(err))
		return 1
	}
	log.Info("Starting disk-mapper", zap.String("version", version), zap.String("cloudProvider", o.platform.name),
		zap.String("variant", string(o.variant)), zap.String("compat", o.profile.Name))
	if err := keys.Locked(); err != nil { // no reason to leave the node without its disk
		log.Warn("Keys are not in locked memory", zap.Error(err))
	}
	notify := notifier(getenv("NOTIFY_SOCKET"))
	if o.enroll {
		if err := enroll(ctx, o, notify, log); err != nil {
			log.Error("Failed to join the cluster", zap.Error(err))
			return 1
		}
		return 0
	}
	if err := boot(ctx, o, setup.Handover{Root: "/"}, notify, log); err != nil {
		log.Error("Failed to prepare the state disk", zap.Error(err))
		return 1
	}
	return 0
}

// boot brings the state disk up, whatever it is.
func boot(ctx context.Context, o options, handover setup.Handover, status func(string), log *zap.Logger) error {
	path, err := o.awaitStateDisk(ctx)
	if err != nil {
		return err
	}
	d, err := openUnusedDisk(ctx, path)
	if err != nil {
		return err
	}
	if err := o.admit(d.Device); err != nil {
		return err
	}
	d.extent = o.extent
	b := setup.Boot{Disk: d, Handover: handover, Status: status, Log: log}
	if d.Joined() { // only then does anybody attest, listen or ask the platform
		tpm, err := vtpm.Open()
		if err != nil {
			return err
		}
		defer tpm.Close()
		register := register{tpm, o.profile.ClusterIDPCR}
		if err := register.ready(ctx); err != nil { // now, not after somebody has brought the key
			return err
		}
		joinServices, err := joinPolicy(joinPolicyFile, o.profile, log)
		if err != nil {
			return err
		}
		issuer, err := o.issuer(tpm)
		if err != nil {
			return err
		}
		b.Register, b.Sources = register, sources(o, issuer, joinServices, log)
	} else {
		log.Info("The state disk is new", zap.Stringer("state", d.State()), zap.Bool("zero", d.Zero()))
	}
	if err := b.Run(ctx); err != nil {
		return err
	}
	sayRest(mappingPath, log)
	return nil
}

func sources(o options, issuer attestation.Issuer, joinServices atls.Policy, log *zap.Logger) []setup.Source {
	metadata := o.metadata()
	return []setup.Source{
		controlPlaneOnly{metadata, recoveryserver.New(recoveryAddress, issuer, o.operators, log), log},
		rejoinclient.New(issuer, joinServices, log, o.endpoints(metadata)...),
	}
}

// register is the PCR of the profile.
type register struct {
	tpm *vtpm.TPM
	pcr int
}

// ready fails if the PCR cannot take the cluster ID any more.
func (r register) ready(ctx context.Context) error {
	value, err := r.tpm.ReadPCR(ctx, r.pcr)
	if err != nil {
		return fmt.Errorf("PCR %d: %w", r.pcr, err)
	}
	if !bytes.Equal(value, make([]byte, len(value))) {
		return fmt.Errorf("PCR %d: %w: something was measured into it in this boot; restart the machine", r.pcr, vtpm.ErrPCRNotZero)
	}
	return nil
}

func (r register) Extend(ctx context.Context, id keys.ClusterID) error {
	if err := r.tpm.Extend(ctx, r.pcr, id.Bytes()); err != nil {
		return fmt.Errorf("PCR %d: %w", r.pcr, err)
	}
	return nil
}
