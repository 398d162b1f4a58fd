package verify

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"

	"disk-mapper/attestation"
)

// bootPCR is where firmware measures the first program that it starts. It is the
// boot PCR of all variants: they boot by UEFI, and what else is measured of a boot
// (8, 9, 11, 12, 13) is measured by that program or by what it has started, which
// can measure anything it likes if it is another. PCRs 0 to 3 and 5 to 7 are of the
// provider's firmware, which changes without notice.
const bootPCR = 4

// ForWaiting returns the policy as one about machines that wait for their key. It
// fails with ErrPolicy, and says what to add, unless the policy enforces the boot
// PCR and zero in the profile's cluster-ID PCR: that is how a machine that waits is
// told from one that runs, which may be anybody's.
func (p Policy) ForWaiting(profile attestation.Profile) (Policy, error) {
	pcr := profile.ClusterIDPCR
	const reason = "it is zero only while a node waits for its key, so any running node would get the keys of all others"
	switch m, ok := p.measurements[pcr]; {
	case !ok:
		return Policy{}, fmt.Errorf("%w: nothing is expected of the cluster-ID PCR %d: %s; %s", ErrPolicy, pcr, reason, zeroToAdd(pcr))
	case m.WarnOnly:
		return Policy{}, fmt.Errorf("%w: the cluster-ID PCR %d is not enforced: %s; %s", ErrPolicy, pcr, reason, zeroToAdd(pcr))
	case !bytes.Equal(m.Expected, make([]byte, sha256.Size)):
		return Policy{}, fmt.Errorf("%w: the cluster-ID PCR %d is expected to be %x: %s; %s", ErrPolicy, pcr, m.Expected, reason, zeroToAdd(pcr))
	}
	return p, p.checkBoot()
}

// ForServing returns the policy as one about machines that hand out keys: they have
// joined, so zero in the profile's cluster-ID PCR is not expected of them. Another
// value, that of a certain cluster, is. It fails with ErrPolicy unless the boot PCR is
// enforced.
func (p Policy) ForServing(profile attestation.Profile) (Policy, error) {
	rest := maps.Clone(p.measurements)
	if bytes.Equal(rest[profile.ClusterIDPCR].Expected, make([]byte, sha256.Size)) {
		delete(rest, profile.ClusterIDPCR)
	}
	p.measurements = rest
	return p, p.checkBoot()
}

func (p Policy) checkBoot() error {
	what := "is not enforced"
	switch m, ok := p.measurements[bootPCR]; {
	case ok && !m.WarnOnly:
		return nil
	case !ok:
		what = "is not expected to hold anything"
	}
	return fmt.Errorf("%w: PCR %d, what the firmware started, %s: a machine that runs anything else could claim the rest; "+
		`say in "measurements" what it holds on an honest node: "%d": {"expected": "<64 hexadecimal digits>", "warnOnly": false}; `+
		`in the form of release 2.1, list it in "enforcedPCRs" (enforcedMeasurements)`, ErrPolicy, bootPCR, what, bootPCR)
}

// zeroToAdd is the member in both forms.
func zeroToAdd(pcr int) string {
	return fmt.Sprintf(`write in "measurements" "%d": {"expected": "%064d", "warnOnly": false}; `+
		`in the form of release 2.1 "%d": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", and list it in "enforcedPCRs" (enforcedMeasurements)`, pcr, 0, pcr)
}
