package verify_test

import (
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPoliciesOfVariants(t *testing.T) {
	texts := map[attestation.Variant]string{attestation.QEMUVTPM: `{"variant":"qemu-vtpm","measurements":{"15":"` + hexOf(15) + `"}}`}
	for variant, text := range policyOf {
		texts[variant] = text
	}
	for variant, text := range texts {
		policy, err := verify.ParsePolicy([]byte(text))
		require.NoError(t, err)
		assert.Equal(t, variant, verify.New(policy, attestation.BindHashChain, nil, nil).Variant())
		_, err = policy.ForServing(attestation.Profile224)
		require.ErrorIs(t, err, verify.ErrPolicy)
		policy, err = verify.ParsePolicy([]byte(strings.Replace(text, `"measurements":{`, `"measurements":{"4":"`+hexOf(4)+`",`, 1)))
		require.NoError(t, err)
		policy, err = policy.ForServing(attestation.Profile224)
		require.NoError(t, err)
		assert.Equal(t, variant, verify.New(policy, attestation.BindHashChain, nil, nil).Variant(), "another one without PCR 15")
	}
}

func TestPoliciesOfVariantsRefused(t *testing.T) {
	const snp, keys = `"snp":{` + minimumTCB + `}`, `,"idKeyDigests":[`
	for name, c := range map[string]struct {
		variant attestation.Variant
		change  func(string) string
		want    string
	}{
		"unknown variant":        {attestation.AWSSEVSNP, replace("aws-sev-snp", "aws-sev"), `unknown attestation variant "aws-sev", want one of: qemu-vtpm, `},
		"placeholder":            {attestation.AWSSEVSNP, replace("aws-sev-snp", "qemu-tdx"), `attestation variant "qemu-tdx" is known but not supported yet`},
		"variant in capitals":    {attestation.AWSSEVSNP, replace("aws-sev-snp", "AWS-SEV-SNP"), `unknown attestation variant "AWS-SEV-SNP"`},
		"empty variant":          {attestation.AWSSEVSNP, replace("aws-sev-snp", ""), `"/variant" is unknown or empty`},
		"variant left out":       {attestation.AWSSEVSNP, replace(`"variant":"aws-sev-snp",`, ""), "snp is of no use for qemu-vtpm"},
		"SNP left out":           {attestation.AWSSEVSNP, replace(`,`+snp, ""), "snp is missing: aws-sev-snp needs it"},
		"SNP of null":            {attestation.AWSSEVSNP, replace(snp, `"snp":null`), `"/snp" is null`},
		"no minimum":             {attestation.AWSSEVSNP, replace(snp, `"snp":{}`), `"/snp/minimumTCB" is missing`},
		"no minimum of one":      {attestation.AWSSEVSNP, replace(`"tee":0,`, ""), `"/snp/minimumTCB/tee" is missing`},
		"minimum of 256":         {attestation.AWSSEVSNP, replace("115", "256"), "holds number 256, want uint8"},
		"minimum in words":       {attestation.AWSSEVSNP, replace("115", `"latest"`), "holds string, want uint8"},
		"one minimum more":       {attestation.AWSSEVSNP, replace(`"tee":0`, `"tee":0,"fmc":0`), `"/snp/minimumTCB/fmc" is unknown`},
		"AWS with ID keys":       {attestation.AWSSEVSNP, replace(snp, `"snp":{`+minimumTCB+keys+`"`+strings.Repeat("00", 48)+`"]}`), "snp.idKeyDigests is of no use for aws-sev-snp"},
		"AWS with a project":     {attestation.AWSSEVSNP, replace(snp, snp+`,"gcpProject":"clusters"`), "gcpProject is of no use for aws-sev-snp"},
		"GCP without a project":  {attestation.GCPSEVSNP, replace(`,"gcpProject":"clusters"`, ""), "gcpProject is missing: gcp-sev-snp needs it"},
		"GCP with an empty one":  {attestation.GCPSEVSNP, replace(`"clusters"`, `""`), `"/gcpProject" is unknown or empty`},
		"Azure without ID keys":  {attestation.AzureSEVSNP, func(s string) string { return s[:strings.Index(s, keys)] + "}}" }, "snp.idKeyDigests is missing: azure-sev-snp needs it"},
		"Azure with no ID key":   {attestation.AzureSEVSNP, func(s string) string { return s[:strings.Index(s, keys)] + keys + "]}}" }, "idKeyDigests: list is empty"},
		"Azure, half a digest":   {attestation.AzureSEVSNP, replace("1d1d", ""), "snp: idKeyDigests: want 96 hexadecimal digits"},
		"TDX left out":           {attestation.AzureTDX, func(s string) string { return s[:strings.Index(s, `,"tdx"`)] + "}" }, "tdx is missing: azure-tdx needs it"},
		"TDX on AWS":             {attestation.AWSNitroTPM, replace(`"measurements"`, `"tdx":{"minimumTEESVN":"","minimumQESVN":0,"minimumPCESVN":0,"mrTDs":[]},"measurements"`), "tdx is of no use for aws-nitro-tpm"},
		"TDX, half a version":    {attestation.AzureTDX, replace("030004", "03"), "tdx: minimumTEESVN: want 32 hexadecimal digits"},
		"TDX, no version":        {attestation.AzureTDX, replace(`"minimumQESVN":4,`, ""), `"/tdx/minimumQESVN" is missing`},
		"TDX, half an MRTD":      {attestation.AzureTDX, replace(`"mrTDs":["`, `"mrTDs":["00","`), "tdx: mrTDs: want 96 hexadecimal digits"},
		"TDX, no MRTD":           {attestation.AzureTDX, func(s string) string { return s[:strings.Index(s, `"mrTDs"`)] + `"mrTDs":[]}}` }, "tdx: mrTDs: list is empty"},
		"no root":                {attestation.AzureTrustedLaunch, func(s string) string { return s[:strings.Index(s, `,"akRoots"`)] + "}" }, "akRoots is missing: azure-trustedlaunch needs it"},
		"no root in the list":    {attestation.AzureTrustedLaunch, func(s string) string { return s[:strings.Index(s, `,"akRoots"`)] + `,"akRoots":[]}` }, "akRoots: list is empty"},
		"root is garbage":        {attestation.AzureTrustedLaunch, withRoot([]byte("x")), "akRoots: certificate 1: x509"},
		"root may not sign":      {attestation.AzureTrustedLaunch, withRoot(newChain(nil).certificate), "akRoots: certificate 1 may not sign others"},
		"AWS with roots":         {attestation.AWSNitroTPM, replace(`"measurements"`, `"akRoots":["AA=="],"measurements"`), "akRoots is of no use for aws-nitro-tpm"},
		"measurement as for TDX": {attestation.AzureSEVSNP, replace(strings.Repeat("00", 32), strings.Repeat("00", 48)), "want 64 hexadecimal digits"},
		"release 2.1":            {attestation.AWSSEVSNP, in21, "release 2.1 has no policies for aws-sev-snp"},
	} {
		t.Run(name, func(t *testing.T) {
			text := c.change(policyOf[c.variant])
			require.NotEqual(t, policyOf[c.variant], text, "the row changes nothing")
			_, err := verify.ParsePolicy([]byte(text))
			require.ErrorIs(t, err, verify.ErrPolicy)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// in21 is the same policy in the form of release 2.1.
func in21(s string) string {
	s = strings.Replace(s, `"15"`, `"12"`, 1) // where that release wants zero
	return strings.Replace(strings.Replace(s, strings.Repeat("00", 32), base64Of(15), 1), `"measurements"`, `"enforcedPCRs":[12],"measurements"`, 1)
}

func TestPoliciesOfRelease21(t *testing.T) {
	for _, variant := range []attestation.Variant{attestation.AzureSEVSNP, attestation.AzureTrustedLaunch, attestation.GCPSEVES} {
		policy, err := verify.ParsePolicy([]byte(in21(policyOf[variant])))
		require.NoError(t, err)
		assert.Equal(t, variant, verify.New(policy, attestation.BindSigned, nil, nil).Variant())
	}
}
