package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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
	case !isZero(m.Expected):
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
	if m, ok := rest[profile.ClusterIDPCR]; ok && isZero(m.Expected) {
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

// unvouched are the variants on which nobody but the policy says which keys are those
// of nodes: see trusts.
var unvouched = []attestation.Variant{attestation.QEMUVTPM, attestation.AWSNitroTPM}

// Weaknesses says in a sentence each where the policy, beside its measurements, lets
// pass more than its author may think, for callers who want to warn of it. What is
// listed is usable: on some machines there is nothing better.
func (p Policy) Weaknesses() []string {
	var weak []string
	if len(p.trustedAKs) == 0 && slices.Contains(unvouched, p.variant) {
		weak = append(weak, fmt.Sprintf("any attestation key is accepted: on %s nothing vouches for it, "+
			"so whoever knows the measurements can sign them with a TPM of his own; list the nodes' keys in trustedAKs", p.variant))
	}
	if m, ok := p.measurements[bootPCR]; ok && isZero(m.Expected) {
		weak = append(weak, fmt.Sprintf("any boot that nobody measured is accepted: PCR %d is expected to be zero, and firmware that measures what it starts leaves another value", bootPCR))
	}
	if zeros := p.zeroMinimums(); len(zeros) > 0 {
		weak = append(weak, fmt.Sprintf("firmware of any version is accepted: the policy says 0 for %s", strings.Join(zeros, ", ")))
	}
	return weak
}

// zeroMinimums leaves out the version of the TEE under SNP, for which policies say 0.
func (p Policy) zeroMinimums() []string {
	zero := map[string]bool{}
	if slices.Contains(needSNP, p.variant) {
		tcb := p.snp.minimumTCB
		zero["snp.minimumTCB.bootloader"], zero["snp.minimumTCB.snp"], zero["snp.minimumTCB.microcode"] = tcb.BlSpl == 0, tcb.SnpSpl == 0, tcb.UcodeSpl == 0
	}
	if slices.Contains(needTDX, p.variant) {
		zero["tdx.minimumTEESVN"], zero["tdx.minimumQESVN"], zero["tdx.minimumPCESVN"] = isZero(p.tdx.minimumTEE), p.tdx.minimumQE == 0, p.tdx.minimumPCE == 0
	}
	maps.DeleteFunc(zero, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(zero))
}

// zeroToAdd is the member in both forms.
func zeroToAdd(pcr int) string {
	return fmt.Sprintf(`write in "measurements" "%d": {"expected": "%064d", "warnOnly": false}; `+
		`in the form of release 2.1 "%d": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", and list it in "enforcedPCRs" (enforcedMeasurements)`, pcr, 0, pcr)
}
