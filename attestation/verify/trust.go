package verify

import (
	"context"
	"fmt"

	"disk-mapper/attestation"
)

// evidence is what decides whether a key may speak for a machine. The quote has
// tied all of it to the connection.
type evidence struct {
	key       attestationKey
	info      []byte
	extraData []byte
}

// trusts says for each variant who vouches for the attestation key, beyond the
// keys that the policy pins.
var trusts = map[attestation.Variant]func(context.Context, validator, evidence) error{
	attestation.QEMUVTPM:    trustNobody,
	attestation.AWSSEVSNP:   trustAWSSNP,
	attestation.GCPSEVSNP:   trustGCPSNP,
	attestation.AzureSEVSNP: trustAzureSNP,
}

// trustNobody: nothing vouches for a key, and nothing may pretend to.
func trustNobody(_ context.Context, _ validator, e evidence) error {
	if len(e.info) != 0 {
		return fmt.Errorf("%w: instance info of %d bytes, want none on QEMU", ErrDocument, len(e.info))
	}
	return nil
}
