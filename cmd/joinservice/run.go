package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/gce"
	"disk-mapper/attestation/issue"
	"disk-mapper/attestation/verify"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/joinservice"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/logging"

	"go.uber.org/zap"
)

// run serves until ctx ends. Logs, and help if asked for, go to stderr.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	opts, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	log := logging.New(stderr, opts.verbosity).Named("joinService")
	master, err := keys.ReadMasterSecret(opts.masterSecret)
	if err != nil {
		return err
	}
	defer master.Wipe()
	salt, err := measurementSalt(opts, log)
	if err != nil {
		return err
	}
	nodes, err := joinservice.OpenPolicyFile(opts.policy, judge(opts.profile, log), log)
	if err != nil {
		return err
	}
	tickets := joinservice.NewTickets(master, salt, log)
	if !opts.attest {
		return serve(ctx, opts.listen, tickets, atls.Unattested, nodes, log)
	}
	tpm, err := vtpm.Open()
	if err != nil {
		return err
	}
	defer tpm.Close()
	self, err := issue.New(nodes.Variant(), tpm, opts.profile.Binding, issue.Here(cloud.NewHTTPClient()))
	if err != nil {
		return err
	}
	if err := tryOnce(ctx, self); err != nil {
		return err
	}
	return serve(ctx, opts.listen, tickets, self, nodes, log)
}

// tryOnce finds a TPM that cannot attest now, not with the first node.
func tryOnce(ctx context.Context, self attestation.Issuer) error {
	ctx, cancel := context.WithTimeout(ctx, atls.Patience)
	defer cancel()
	_, err := self.Issue(ctx, make([]byte, attestation.NonceSize), make([]byte, attestation.NonceSize))
	return err
}

func serve(ctx context.Context, address string, tickets *joinservice.Tickets, self attestation.Issuer, nodes attestation.Validator, log *zap.Logger) error {
	var listenConfig net.ListenConfig
	listener, err := listenConfig.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for nodes: %w", err)
	}
	log.Info("Starting JoinService", zap.String("address", listener.Addr().String()))
	defer log.Info("JoinService stopped")
	return joinservice.Serve(ctx, listener, tickets, self, nodes, log)
}

func judge(profile attestation.Profile, log *zap.Logger) func(verify.Policy) attestation.Validator {
	warn := func(text string) { log.Warn("Node differs from the policy, not enforced", zap.String("warning", text)) }
	google := gce.New(cloud.NewHTTPClient(), "")
	return func(policy verify.Policy) attestation.Validator {
		return verify.New(policy, profile.Binding, google, warn)
	}
}

// measurementSalt reads the salt. It draws one only if told to: a mistyped
// path must not split a cluster into nodes with different cluster IDs.
func measurementSalt(opts options, log *zap.Logger) (keys.MeasurementSalt, error) {
	raw, err := os.ReadFile(opts.salt)
	if errors.Is(err, fs.ErrNotExist) && opts.createSalt {
		log.Info("Creating measurement salt", zap.String("file", opts.salt))
		return createSalt(opts.salt)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return keys.MeasurementSalt{}, fmt.Errorf("measurement salt: %w (for a new cluster, --create-measurement-salt makes it)", err)
	}
	if err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("measurement salt: %w", err)
	}
	salt, err := keys.NewMeasurementSalt(raw)
	if err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("%s: %w", opts.salt, err)
	}
	return salt, nil
}
