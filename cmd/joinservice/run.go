package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime/debug"
	"sync"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/gce"
	"disk-mapper/attestation/issue"
	"disk-mapper/attestation/verify"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/joinservice"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/logging"
	"disk-mapper/internal/printable"

	"go.uber.org/zap"
)

// run serves until ctx ends. Logs, and help if asked for, go to stderr.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	opts, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	debug.SetMemoryLimit(joinservice.MaxMemory)
	log := logging.New(stderr, opts.verbosity).Named("joinService")
	master, err := keys.ReadMasterSecret(opts.masterSecret)
	if err != nil {
		return err
	}
	defer master.Wipe()
	warnOfExposed(opts, log)
	salt, err := measurementSalt(opts, log)
	if err != nil {
		return err
	}
	// not those of the listener: strangers who are refused do not hide these lines
	warnings := new(fairlistener.Lines)
	nodes, err := joinservice.OpenPolicyFile(opts.policy, judge(opts.profile, warnings, log), log)
	if err != nil {
		return err
	}
	log.Info("Nodes are judged by this attestation policy", zap.String("file", opts.policy),
		zap.String("variant", string(nodes.Variant())), zap.Ints("unenforced", nodes.Policy().Unenforced()),
		zap.Strings("weaknesses", nodes.Policy().Weaknesses()))
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { nodes.Watch(ctx) })
	beside.Go(func() { warnings.Report(ctx, log) })
	defer func() { stop(); beside.Wait() }()
	tickets := joinservice.NewTickets(master, salt, log)
	if !opts.attest {
		return serve(ctx, opts.listen, tickets, atls.Unattested, nodes, log)
	}
	tpm, err := vtpm.Open()
	if err != nil {
		return err
	}
	defer tpm.Close()
	if err := tpm.ForgetFailures(ctx); err != nil { // our own key does not care
		log.Warn("The TPM keeps counting failed authorisations", zap.Error(err))
	}
	if err := tpm.Separate(ctx, opts.profile.Binding); err != nil {
		return err
	}
	self, err := issue.New(nodes.Variant(), tpm, opts.profile.Binding, issue.Here(cloud.NewHTTPClient()))
	if err != nil {
		return err
	}
	if err := tryOnce(ctx, self); err != nil {
		return err
	}
	return serve(ctx, opts.listen, tickets, self, nodes, log)
}

// warnOfExposed does not refuse: see docs/decisions/0020-exposed-files.md.
func warnOfExposed(opts options, log *zap.Logger) {
	if err := keys.CheckPrivate(opts.masterSecret); err != nil {
		log.Warn("The master secret is exposed", zap.Error(err))
	}
	if err := keys.CheckUnchangeable(opts.policy); errors.Is(err, keys.ErrExposed) { // what else is wrong with it stops the start
		log.Warn("Others can change the attestation policy", zap.Error(err))
	}
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
		return fmt.Errorf("listening for nodes: %w", printable.Error(err))
	}
	log.Info("Starting JoinService", zap.String("address", listener.Addr().String()))
	defer log.Info("JoinService stopped")
	return joinservice.Serve(ctx, listener, tickets, self, nodes, log)
}

// judge takes a policy for one about nodes that wait for their key. Without pinned
// keys strangers can be such nodes, so there are only so many warnings of each network.
func judge(profile attestation.Profile, warnings *fairlistener.Lines, log *zap.Logger) joinservice.Judge {
	warn := func(ctx context.Context, text string) {
		warnings.About(log, fairlistener.NetworkOfWork(ctx), false).Warn("Node differs from the policy, not enforced", zap.String("warning", text))
	}
	google := gce.New(cloud.NewHTTPClient(), "")
	return func(policy verify.Policy) (attestation.Validator, error) {
		policy, err := policy.ForWaiting(profile)
		if err != nil {
			return nil, err
		}
		return verify.New(policy, profile.Binding, google, warn), nil
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
		return keys.MeasurementSalt{}, fmt.Errorf("measurement salt: %w (for a new cluster, --create-measurement-salt makes it)", printable.Error(err))
	}
	if err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("measurement salt: %w", printable.Error(err))
	}
	salt, err := keys.NewMeasurementSalt(raw)
	if err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("%s: %w", printable.Text(opts.salt), err)
	}
	return salt, nil
}
