package verify

import (
	"context"
	"crypto"
	"fmt"
	"regexp"

	"disk-mapper/attestation/instance"
)

// GCE says which attestation key an instance of Compute Engine has. A validator
// asks it about instances of the policy's project only.
type GCE interface {
	ShieldedKey(ctx context.Context, of instance.GCE) (crypto.PublicKey, error)
}

// gceName holds for zones and instances.
var gceName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// trustGCE takes key for that of the claimed instance if the policy pins it, or
// if Google says so.
func (v validator) trustGCE(ctx context.Context, claimed instance.GCE, key attestationKey) error {
	if claimed.Project != v.policy.gcpProject {
		return fmt.Errorf("%w: instance of the project %.100q, want %q", ErrKey, claimed.Project, v.policy.gcpProject)
	}
	if !gceName.MatchString(claimed.Zone) || !gceName.MatchString(claimed.Name) {
		return fmt.Errorf("%w: no instance has the zone and name %.100q, %.100q", ErrDocument, claimed.Zone, claimed.Name)
	}
	if len(v.policy.trustedAKs) > 0 { // it is one of them
		return nil
	}
	if v.gce == nil {
		return fmt.Errorf("%w: it is not pinned, and there is nobody to ask about it", ErrKey)
	}
	known, err := v.gce.ShieldedKey(ctx, claimed)
	if err != nil {
		return fmt.Errorf("%w: asking Google about it: %w", ErrKey, err)
	}
	if !key.public.Equal(known) {
		return fmt.Errorf("%w: it is not that of the instance %s in %s", ErrKey, claimed.Name, claimed.Zone)
	}
	return nil
}
