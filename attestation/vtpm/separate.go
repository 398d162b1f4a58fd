package vtpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"disk-mapper/attestation"

	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"
)

// Separate measures what the binding wants to be measured before anything is
// signed under it (attestation.Binding.Separation), if it wants that, and unless
// something has been measured there since the boot. Issuers do it by themselves
// before their first signature: no machine signs for a stranger what passes under
// another binding. It fails with ErrNoSHA256Bank, or with ErrReadBack if the PCR is
// still zero afterwards.
func (t *TPM) Separate(ctx context.Context, binding attestation.Binding) error {
	_, err := exclusively(ctx, t, func() (struct{}, error) { return struct{}{}, t.separate(binding) })
	if err != nil {
		return fmt.Errorf("keeping signatures of two profiles apart: %w", err)
	}
	return nil
}

func (t *TPM) separate(binding attestation.Binding) error {
	s, needed := binding.Separation()
	if !needed || t.separated {
		return nil
	}
	zero, err := t.isZero(s.PCR)
	if err != nil {
		return err
	}
	if zero {
		if err := tpm2.PCREvent(t.device, tpmutil.Handle(s.PCR), s.Event); err != nil {
			return fmt.Errorf("extending PCR %d: %w", s.PCR, err)
		}
		if zero, err = t.isZero(s.PCR); err != nil {
			return err
		}
	}
	if zero {
		return fmt.Errorf("%w: PCR %d is still zero", ErrReadBack, s.PCR)
	}
	t.separated = true
	return nil
}

func (t *TPM) isZero(pcr int) (bool, error) {
	value, err := t.readPCR(pcr)
	return bytes.Equal(value, make([]byte, sha256.Size)), err
}
