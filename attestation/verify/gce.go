package verify

import (
	"context"
	"crypto"
	"fmt"
	"regexp"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/exactjson"

	"github.com/google/go-eventlog/extract"
	"github.com/google/go-eventlog/proto/state"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
)

// GCE says which attestation key an instance of Compute Engine has. A validator
// asks it about instances of the policy's project only.
type GCE interface {
	ShieldedKey(ctx context.Context, of instance.GCE) (crypto.PublicKey, error)
}

// gceName holds for zones and instances.
var gceName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// trustGCPSES: Google says that the key is the claimed instance's, and its
// firmware has measured that the instance runs under SEV.
func trustGCPSES(ctx context.Context, v validator, e evidence) error {
	var claimed instance.GCE
	if err := exactjson.Unmarshal(e.info, &claimed); err != nil {
		return fmt.Errorf("%w: instance info: %w", ErrDocument, err)
	}
	if err := v.trustGCE(ctx, claimed, e.key); err != nil {
		return err
	}
	return checkSEV(e.eventLog, e.pcrs[0])
}

// checkSEV believes an event log as far as PCR 0 agrees with it.
func checkSEV(eventLog, pcr0 []byte) error {
	replayed := []register.MR{register.PCR{Index: 0, Digest: pcr0, DigestAlg: crypto.SHA256}}
	events, err := tcg.ParseAndReplay(eventLog, replayed, tcg.ParseOpts{})
	if err != nil {
		return fmt.Errorf("%w: event log: %.400q", ErrHardware, err)
	}
	platform, err := extract.PlatformState(crypto.SHA256, events)
	if err != nil {
		return fmt.Errorf("%w: event log: %.400q", ErrHardware, err)
	}
	if platform.GetGceVersion() == 0 {
		return fmt.Errorf("%w: event log of some firmware, want Google's", ErrHardware)
	}
	if found := platform.GetTechnology(); found != state.GCEConfidentialTechnology_AMD_SEV {
		return fmt.Errorf("%w: instance runs under %v, want %v", ErrHardware, found, state.GCEConfidentialTechnology_AMD_SEV)
	}
	return nil
}

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
