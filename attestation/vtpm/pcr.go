package vtpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"disk-mapper/attestation"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"
)

var (
	// ErrNoSHA256Bank reports a TPM that keeps no SHA-256 PCRs. An extension
	// would seem to succeed on it and measure nothing.
	ErrNoSHA256Bank = errors.New("TPM has no active SHA-256 bank")
	// ErrPCRNotZero reports a PCR that somebody has extended since the boot.
	ErrPCRNotZero = errors.New("PCR is not zero")
	// ErrReadBack reports a PCR whose value after the extension is not the one
	// that the extension makes of zero.
	ErrReadBack = errors.New("PCR has another value than the extension makes")
)

// Extend measures event, a cluster ID of 32 bytes, into a PCR that must still
// be zero, with TPM2_PCR_Event: each bank takes its own hash of event. It fails
// with ErrNoSHA256Bank or ErrPCRNotZero before, and with ErrReadBack after the
// extension. After any other failure the PCR may be extended or not.
func (t *TPM) Extend(ctx context.Context, pcr int, event []byte) error {
	event = bytes.Clone(event) // an abandoned command outlives this call
	_, err := exclusively(ctx, t, func() (struct{}, error) { return struct{}{}, t.extend(pcr, event) })
	if err != nil {
		return fmt.Errorf("extending PCR %d: %w", pcr, err)
	}
	return nil
}

// ReadPCR returns the value of the SHA-256 bank. It fails with ErrNoSHA256Bank
// if there is none.
func (t *TPM) ReadPCR(ctx context.Context, pcr int) ([]byte, error) {
	value, err := exclusively(ctx, t, func() ([]byte, error) { return t.readPCR(pcr) })
	if err != nil {
		return nil, fmt.Errorf("reading PCR %d: %w", pcr, err)
	}
	return value, nil
}

func (t *TPM) extend(pcr int, event []byte) error {
	if len(event) != sha256.Size {
		return fmt.Errorf("event of %d bytes, want %d", len(event), sha256.Size)
	}
	before, err := t.readPCR(pcr)
	if err != nil {
		return err
	}
	if !bytes.Equal(before, make([]byte, sha256.Size)) {
		return fmt.Errorf("%w: found %x", ErrPCRNotZero, before)
	}
	if err := tpm2.PCREvent(t.device, tpmutil.Handle(pcr), event); err != nil {
		return err
	}
	after, err := t.readPCR(pcr)
	if err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	if want := attestation.Extended(event); !bytes.Equal(after, want) {
		return fmt.Errorf("%w: found %x, want %x", ErrReadBack, after, want)
	}
	return nil
}

func (t *TPM) readPCR(pcr int) ([]byte, error) {
	banks, err := client.AllocatedPCRs(t.device)
	if err != nil {
		return nil, err
	}
	hasPCR := func(b tpm2.PCRSelection) bool { return b.Hash == tpm2.AlgSHA256 && slices.Contains(b.PCRs, pcr) }
	if !slices.ContainsFunc(banks, hasPCR) {
		return nil, fmt.Errorf("%w with PCR %d", ErrNoSHA256Bank, pcr)
	}
	values, err := tpm2.ReadPCRs(t.device, tpm2.PCRSelection{Hash: tpm2.AlgSHA256, PCRs: []int{pcr}})
	if err != nil {
		return nil, err
	}
	if len(values[pcr]) != sha256.Size {
		return nil, fmt.Errorf("TPM answered with %d bytes, want %d", len(values[pcr]), sha256.Size)
	}
	return values[pcr], nil
}
