package verify_test

import (
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// weakPolicies are all good JSON, and each lets through what it must not. The
// sentence to add is part of the refusal.
var weakPolicies = map[string]struct {
	text    string
	profile attestation.Profile
	waiting string // refusal as a policy about machines that wait
	serving string // and about those that serve
}{
	"good":        {of(`"4":"11","15":"00"`), attestation.Profile224, "", ""},
	"good in 2.1": {of21(`"4":"1","12":"0"`, "4,12"), attestation.Profile21, "", ""},
	"no cluster-ID PCR": {of(`"4":"11"`), attestation.Profile224,
		`nothing is expected of the cluster-ID PCR 15: it is zero only while a node waits for its key, so any running node would get the keys of all others; write in "measurements" "15": {"expected": "` + strings.Repeat("0", 64) + `"`, ""},
	"that of the other profile": {of(`"4":"11","12":"00"`), attestation.Profile224, "nothing is expected of the cluster-ID PCR 15", ""},
	"that of the default":       {of(`"4":"11","15":"00"`), attestation.Profile21, "nothing is expected of the cluster-ID PCR 12", ""},
	"cluster-ID PCR only warns": {of(`"4":"11","15":{"expected":"00","warnOnly":true}`), attestation.Profile224, "the cluster-ID PCR 15 is not enforced", ""},
	"cluster-ID PCR not zero":   {of(`"4":"11","15":"ff"`), attestation.Profile224, "the cluster-ID PCR 15 is expected to be ffff", ""},
	"PCR 4 only warns":          {of(`"4":{"expected":"11","warnOnly":true},"9":"11","15":"00"`), attestation.Profile224, "PCR 4, what the firmware started, is not enforced", "PCR 4, what the firmware started, is not enforced"},
	"no boot PCR":               {of(`"15":"00"`), attestation.Profile224, "PCR 4, what the firmware started, is not expected to hold anything", "PCR 4, what the firmware started, is not expected to hold anything"},
	"boot PCRs without the first": {of(`"8":"11","9":"11","11":"11","15":"00"`), attestation.Profile224,
		`say in "measurements" what it holds on an honest node: "4": {"expected": "<64 hexadecimal digits>"`, "PCR 4"},
	"2.1: PCR 4 not listed":  {of21(`"4":"1","12":"0"`, "12"), attestation.Profile21, "PCR 4, what the firmware started, is not enforced", "PCR 4"},
	"2.1: PCR 12 not listed": {of21(`"4":"1","12":"0"`, "4"), attestation.Profile21, "the cluster-ID PCR 12 is not enforced", ""},
}

// of fills up the hexadecimal values of the current form.
func of(measurements string) string {
	for _, b := range []string{"00", "11", "ff"} {
		measurements = strings.ReplaceAll(measurements, `:"`+b+`"`, `:"`+strings.Repeat(b, 32)+`"`)
	}
	return `{"measurements":{` + measurements + `}}`
}

func of21(measurements, enforced string) string {
	measurements = strings.ReplaceAll(strings.ReplaceAll(measurements, `:"0"`, `:"`+base64Of(0)+`"`), `:"1"`, `:"`+base64Of(1)+`"`)
	return `{"measurements":{` + measurements + `},"enforcedPCRs":[` + enforced + `]}`
}

func TestWeakPoliciesAreRefused(t *testing.T) {
	for name, tt := range weakPolicies {
		t.Run(name, func(t *testing.T) {
			policy, err := verify.ParsePolicy([]byte(tt.text))
			require.NoError(t, err)
			_, err = policy.ForWaiting(tt.profile)
			refusedAs(t, tt.waiting, err)
			_, err = policy.ForServing(tt.profile)
			refusedAs(t, tt.serving, err)
		})
	}
}

func refusedAs(t *testing.T, want string, err error) {
	t.Helper()
	if want == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, verify.ErrPolicy)
	assert.ErrorContains(t, err, want)
}

// TestWeaknesses: the policies of all variants as they should be, and what each lets
// pass that says less.
func TestWeaknesses(t *testing.T) {
	const anyKey, anyFirmware = "any attestation key is accepted: on ", "firmware of any version is accepted: the policy says 0 for "
	pin := replace(`"measurements"`, `"trustedAKs":["`+fingerprint+`"],"measurements"`)
	for name, tt := range map[string]struct {
		text string
		want []string // how the sentences begin
	}{
		"QEMU":                 {goodPolicies["current"], []string{anyKey + "qemu-vtpm nothing vouches for it"}},
		"QEMU, release 2.1":    {goodPolicies["release 2.1"], []string{anyKey + "qemu-vtpm"}},
		"QEMU, pinned":         {goodPolicies["pinned"], nil},
		"QEMU, pinned in 2.1":  {goodPolicies["pinned in 21"], nil},
		"Nitro":                {policyOf[attestation.AWSNitroTPM], []string{anyKey + "aws-nitro-tpm"}},
		"Nitro, pinned":        {pin(policyOf[attestation.AWSNitroTPM]), nil},
		"SNP on AWS":           {policyOf[attestation.AWSSEVSNP], nil},
		"SNP on Google":        {policyOf[attestation.GCPSEVSNP], nil},
		"SNP on Azure":         {policyOf[attestation.AzureSEVSNP], nil},
		"SEV-ES on Google":     {policyOf[attestation.GCPSEVES], nil},
		"TDX":                  {policyOf[attestation.AzureTDX], nil},
		"trusted launch":       {policyOf[attestation.AzureTrustedLaunch], nil},
		"SNP, any microcode":   {replace(`"microcode":115`, `"microcode":0`)(policyOf[attestation.AzureSEVSNP]), []string{anyFirmware + "snp.minimumTCB.microcode"}},
		"SNP, any bootloader":  {replace(`"bootloader":3`, `"bootloader":0`)(policyOf[attestation.GCPSEVSNP]), []string{anyFirmware + "snp.minimumTCB.bootloader"}},
		"SNP, any SNP version": {replace(`"snp":8`, `"snp":0`)(policyOf[attestation.AWSSEVSNP]), []string{anyFirmware + "snp.minimumTCB.snp"}},
		"no boot measured":     {pin(replace(hexOf(5), strings.Repeat("00", 32))(goodPolicies["current"])), []string{"any boot that nobody measured is accepted: PCR 4 is expected to be zero"}},
		"TDX, any module":      {replace("030004", "000000")(policyOf[attestation.AzureTDX]), []string{anyFirmware + "tdx.minimumTEESVN"}},
		"TDX, any enclave":     {replace(`"minimumQESVN":4`, `"minimumQESVN":0`)(policyOf[attestation.AzureTDX]), []string{anyFirmware + "tdx.minimumQESVN"}},
		"TDX, any PCE":         {replace(`"minimumPCESVN":11`, `"minimumPCESVN":0`)(policyOf[attestation.AzureTDX]), []string{anyFirmware + "tdx.minimumPCESVN"}},
	} {
		t.Run(name, func(t *testing.T) {
			policy, err := verify.ParsePolicy([]byte(tt.text))
			require.NoError(t, err)
			weaknesses := policy.Weaknesses()
			require.Len(t, weaknesses, len(tt.want), "%q", weaknesses)
			for i, want := range tt.want {
				assert.True(t, strings.HasPrefix(weaknesses[i], want), weaknesses[i])
			}
		})
	}
}

// TestServingPolicy: a JoinService has joined, so zero is not expected of it, but
// the value of a certain cluster is.
func TestServingPolicy(t *testing.T) {
	for name, tt := range map[string]struct {
		expected string
		holds    []byte
		want     error
	}{
		"zero is not looked at":    {"00", other, nil},
		"that cluster":             {"ff", []byte(strings.Repeat("\xff", 32)), nil},
		"another one":              {"ff", other, verify.ErrMeasurement},
		"one that has joined none": {"ff", zero, verify.ErrMeasurement},
	} {
		t.Run(name, func(t *testing.T) {
			policy, err := verify.ParsePolicy([]byte(of(`"4":"` + hexOf(4) + `","15":"` + tt.expected + `"`)))
			require.NoError(t, err)
			policy, err = policy.ForServing(attestation.Profile224)
			require.NoError(t, err)
			p := newProver()
			p.banks[11][15] = tt.holds
			raw := marshal(t, p.document(t, attestation.BindHashChain, userData, nonce))
			require.ErrorIs(t, verify.New(policy, attestation.BindHashChain, nil, nil).Validate(t.Context(), raw, userData, nonce), tt.want)
		})
	}
}
