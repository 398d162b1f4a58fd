package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"disk-mapper/attestation"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/internal/keys"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// startTPM makes the TPM fit to answer strangers: nobody's power cuts have locked
// it, and what it signs in one profile is of no use in another.
func startTPM(ctx context.Context, open func() (*vtpm.TPM, error), binding attestation.Binding, log *zap.Logger) (*vtpm.TPM, error) {
	tpm, err := awaitTPM(ctx, open, log)
	if err != nil {
		return nil, err
	}
	if err := tpm.ForgetFailures(ctx); err != nil { // our own key does not care
		log.Warn("The TPM keeps counting failed authorisations", zap.Error(err))
	}
	if err := tpm.Separate(ctx, binding); err != nil {
		return nil, errors.Join(err, tpm.Close())
	}
	return tpm, nil
}

// awaitTPM gives the kernel as much time to bring up the TPM as it has for the
// state disk.
func awaitTPM(ctx context.Context, open func() (*vtpm.TPM, error), log *zap.Logger) (*vtpm.TPM, error) {
	tpm, err := open()
	if err == nil || !comesLater(err) {
		return tpm, err
	}
	log.Info("Waiting for the TPM", zap.Error(err), zap.Duration("timeout", diskTimeout))
	ended := poll(ctx, diskTimeout, func() bool {
		tpm, err = open()
		return err == nil || !comesLater(err)
	})
	if errors.Is(ended, errNotInTime) {
		return nil, fmt.Errorf("no TPM appeared within %v: %w", diskTimeout, err)
	}
	return tpm, cmp.Or(ended, err)
}

// comesLater is for a device that is not there, or has no driver behind it yet.
func comesLater(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
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
