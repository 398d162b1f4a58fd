package verify

import (
	"context"
	"crypto"
	"fmt"
	"regexp"
	"slices"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/exactjson"
	"disk-mapper/internal/printable"

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
// firmware has measured that the instance runs under SEV. Google is asked last.
func trustGCPSES(ctx context.Context, v validator, e evidence) error {
	var claimed instance.GCE
	if err := exactjson.Unmarshal(e.info, &claimed); err != nil {
		return fmt.Errorf("%w: instance info: %w", ErrDocument, err)
	}
	if err := v.policy.checkSEV(e.eventLog, e.pcrs[0]); err != nil {
		return err
	}
	return v.trustGCE(ctx, claimed, e.key)
}

// checkSEV believes an event log as far as PCR 0 agrees with it. Google's firmware
// says SEV on the machines that the archived releases run on, and they take nothing
// else, so SEV passes unless the policy wants SEV-ES.
func (p Policy) checkSEV(eventLog, pcr0 []byte) error {
	replayed := []register.MR{register.PCR{Index: 0, Digest: pcr0, DigestAlg: crypto.SHA256}}
	events, err := tcg.ParseAndReplay(eventLog, replayed, tcg.ParseOpts{})
	if err != nil {
		return fmt.Errorf("%w: event log: %w", ErrHardware, printable.Error(err))
	}
	platform, err := extract.PlatformState(crypto.SHA256, events)
	if err != nil {
		return fmt.Errorf("%w: event log: %w", ErrHardware, printable.Error(err))
	}
	if platform.GetGceVersion() == 0 {
		return fmt.Errorf("%w: event log of some firmware, want Google's", ErrHardware)
	}
	want := []state.GCEConfidentialTechnology{state.GCEConfidentialTechnology_AMD_SEV_ES, state.GCEConfidentialTechnology_AMD_SEV}
	if p.sevES {
		want = want[:1]
	}
	if found := platform.GetTechnology(); !slices.Contains(want, found) {
		return fmt.Errorf("%w: instance runs under %v, want one of %v", ErrHardware, found, want)
	}
	return nil
}

// trustGCE takes key for that of the claimed instance if the policy pins it, or
// if Google says so.
func (v validator) trustGCE(ctx context.Context, claimed instance.GCE, key attestationKey) error {
	if claimed.Project != v.policy.gcpProject {
		return fmt.Errorf("%w: instance of the project %s, want %q", ErrKey, printable.Quote(claimed.Project), v.policy.gcpProject)
	}
	if !gceName.MatchString(claimed.Zone) || !gceName.MatchString(claimed.Name) {
		return fmt.Errorf("%w: no instance has the zone and name %s, %s", ErrDocument, printable.Quote(claimed.Zone), printable.Quote(claimed.Name))
	}
	if len(v.policy.trustedAKs) > 0 { // it is one of them
		return nil
	}
	if v.google == nil {
		return fmt.Errorf("%w: it is not pinned, and there is nobody to ask about it", ErrKey)
	}
	return v.google.ask(ctx, claimed, key)
}
