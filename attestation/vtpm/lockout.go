package vtpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"
)

// A TPM that loses power after a key was used counts that as a failed guess of the
// key's authorisation, and after a few of them refuses to use keys for a while: a
// lockout. Keys with the attribute noDA are neither counted nor refused.

// ErrLockout reports a TPM that refuses to use keys for a while.
var ErrLockout = errors.New("TPM in DA lockout")

// akHandle is where our attestation key is kept. It is not the handle of the
// archived releases, whose key has other attributes: both would take it from each
// other at each boot.
const akHandle = tpmutil.Handle(0x81009f01)

// AttestationKey opens the RSA key of machines whose provider gives them none: it
// is made from the TPM's seed if it is not there, and noDA.
func AttestationKey(rw io.ReadWriter) (*client.Key, error) {
	template := client.AKTemplateRSA()
	template.Attributes |= tpm2.FlagNoDA
	return client.NewCachedKey(rw, tpm2.HandleOwner, template, akHandle)
}

// The bits of the property TPMAPermanent.
const (
	lockoutAuthSet = 1 << 2
	inLockout      = 1 << 9
)

// ForgetFailures sets the count of failed authorisations back to zero, which ends a
// lockout. It fails without a try if a lockout authorisation is set, since a wrong
// one would cost its owner a day. The error wraps ErrLockout if the TPM is locked
// and stays so; it then says for how long.
func (t *TPM) ForgetFailures(ctx context.Context) error {
	_, err := exclusively(ctx, t, func() (struct{}, error) { return struct{}{}, t.forgetFailures() })
	if err != nil {
		return fmt.Errorf("resetting the TPM's count of failed authorisations: %w", err)
	}
	return nil
}

func (t *TPM) forgetFailures() error {
	state, err := t.property(tpm2.TPMAPermanent)
	if err != nil {
		return err
	}
	if state&lockoutAuthSet != 0 {
		err = errors.New("somebody has set a lockout authorisation")
	} else {
		err = tpm2.DictionaryAttackLockReset(t.device, tpm2.AuthCommand{Session: tpm2.HandlePasswordSession})
	}
	if err != nil && state&inLockout != 0 {
		return fmt.Errorf("%w: %w", t.lockout(), err)
	}
	return err
}

// lockout is ErrLockout with how long it lasts, as far as the TPM says so.
func (t *TPM) lockout() error {
	failures, countErr := t.property(tpm2.LockoutCounter)
	allowed, allowedErr := t.property(tpm2.MaxAuthFail)
	seconds, secondsErr := t.property(tpm2.LockoutInterval)
	if errors.Join(countErr, allowedErr, secondsErr) != nil {
		return ErrLockout
	}
	return fmt.Errorf("%w: %s", ErrLockout, howLong(failures, allowed, time.Duration(seconds)*time.Second))
}

// howLong: one failure is forgotten after each interval in which the machine runs.
func howLong(failures, allowed uint32, interval time.Duration) string {
	counted := fmt.Sprintf("%d failed authorisations or power cuts, locked from %d on", failures, allowed)
	if interval == 0 {
		return counted + ", until somebody resets it"
	}
	left := time.Duration(max(int64(failures)-int64(allowed)+1, 1)) * interval
	return fmt.Sprintf("%s; unlocks within %v if it stays powered on", counted, left)
}

func (t *TPM) property(which tpm2.TPMProp) (uint32, error) {
	found, _, err := tpm2.GetCapability(t.device, tpm2.CapabilityTPMProperties, 1, uint32(which))
	if err != nil {
		return 0, err
	}
	if len(found) == 1 {
		if property, ok := found[0].(tpm2.TaggedProperty); ok && property.Tag == which {
			return property.Value, nil
		}
	}
	return 0, fmt.Errorf("TPM does not say its property %#x", uint32(which))
}
