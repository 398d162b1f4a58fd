package verify

import (
	"context"
	"encoding/json"
	"fmt"

	"disk-mapper/attestation"
)

// evidence is what decides whether a key may speak for a machine. Under
// BindHashChain the quote has tied all of it to the connection.
type evidence struct {
	key       attestationKey
	info      []byte
	extraData []byte
	pcrs      map[int][]byte // of the SHA-256 bank, all
	eventLog  []byte         // which only the PCRs vouch for
}

// trusts says for each variant who vouches for the attestation key, beyond the
// keys that the policy pins.
var trusts = map[attestation.Variant]func(context.Context, validator, evidence) error{
	attestation.QEMUVTPM:           trustNobody,
	attestation.AWSNitroTPM:        trustAWSNitro,
	attestation.AWSSEVSNP:          trustAWSSNP,
	attestation.GCPSEVES:           trustGCPSES,
	attestation.GCPSEVSNP:          trustGCPSNP,
	attestation.AzureSEVSNP:        trustAzureSNP,
	attestation.AzureTrustedLaunch: trustAzureTrustedLaunch,
	attestation.AzureTDX:           trustAzureTDX,
}

// trustNobody: nothing vouches for a key, and nothing may pretend to.
func trustNobody(_ context.Context, _ validator, e evidence) error {
	if len(e.info) != 0 {
		return fmt.Errorf("%w: instance info of %d bytes, want none on QEMU", ErrDocument, len(e.info))
	}
	return nil
}

// trustAWSNitro: nothing vouches for a key. The identity document in the instance
// info carries no signature, so that to ask Amazon about the image or instance in
// it would be to ask about what the peer likes to name. Amazon adds members to
// these documents from time to time, so they are not read strictly.
func trustAWSNitro(_ context.Context, _ validator, e evidence) error {
	var identity struct{ InstanceID, ImageID string }
	if json.Unmarshal(e.info, &identity) != nil || identity.InstanceID == "" || identity.ImageID == "" {
		return fmt.Errorf("%w: instance info is no identity document of an EC2 instance", ErrDocument)
	}
	return nil
}
