package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/disk"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/logging"
	"disk-mapper/internal/printable"
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
		out, complaints := printable.Writer{Writer: stdout}, printable.Writer{Writer: stderr} // a person reads there
		switch args[0] {
		case "inspect":
			return inspect(ctx, args[1:], out, complaints)
		case "header":
			return headerCommand(ctx, args[1:], out, complaints)
		case "grow":
			return grow(ctx, args[1:], notifier(getenv("NOTIFY_SOCKET")), complaints)
		case "wipe":
			return wipe(ctx, args[1:], os.Stdin, out, complaints)
		case "status":
			return status(args[1:], out, complaints)
		}
	}
	kernel, unreadable := os.ReadFile(kernelLine) // may hold what makes the daemon stricter
	o, err := parseOptions(args, getenv, string(kernel), stderr)
	if environment := checkEnvironment(os.Environ()); environment != nil && !errors.Is(err, flag.ErrHelp) {
		err = errors.Join(err, environment)
	}
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
	d, err := openUnusedDisk(ctx, path, o.openDisk())
	if err != nil {
		return err
	}
	if d.State() == disk.Unrecognised {
		log.Warn("The state disk is not zeros and is formatted: constel.state-disk=format-nonzero", zap.String("device", d.Path()))
	}
	d.extent = o.extent
	b := setup.Boot{Disk: d, Handover: handover, Status: status, Log: log}
	if !d.Joined() {
		log.Info("The state disk is new", zap.Stringer("state", d.State()), zap.Bool("zero", d.State() == disk.Blank))
	}
	if _, apart := o.profile.Binding.Separation(); apart || d.Joined() { // else the TPM is left to the booted system
		tpm, err := startTPM(ctx, vtpm.Open, o.profile.Binding, log)
		if err != nil {
			return err
		}
		defer tpm.Close()
		if d.Joined() { // only then does anybody attest, listen or ask the platform
			if err := o.awaitKey(ctx, &b, tpm, log); err != nil {
				return err
			}
		}
	}
	if err := b.Run(ctx); err != nil {
		return err
	}
	sayRest(mappingPath, log)
	return nil
}

// awaitKey tells the boot of a disk that has joined where its key comes from and its
// cluster ID goes.
func (o options) awaitKey(ctx context.Context, b *setup.Boot, tpm *vtpm.TPM, log *zap.Logger) error {
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
	awaitNetwork(ctx, net.InterfaceAddrs, log)
	b.Register, b.Sources = setup.OneCluster{Register: register, ID: o.cluster}, sources(o, issuer, joinServices, log)
	return nil
}

func sources(o options, issuer attestation.Issuer, joinServices atls.Policy, log *zap.Logger) []setup.Source {
	metadata := o.metadata()
	return []setup.Source{
		controlPlaneOnly{o.metadata, recoveryserver.New(recoveryAddress, issuer, o.operators, log), log},
		rejoinclient.New(issuer, joinServices, log, o.endpoints(metadata)...),
	}
}
