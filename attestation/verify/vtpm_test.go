package verify_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Policies for machines whose TPM is the platform's word.
func init() {
	policyOf[attestation.GCPSEVES] = `{"variant":"gcp-sev-es","measurements":{"15":"` + strings.Repeat("00", 32) + `"},"gcpProject":"clusters"}`
	policyOf[attestation.AWSNitroTPM] = `{"variant":"aws-nitro-tpm","measurements":{"15":"` + strings.Repeat("00", 32) + `"}}`
}

const (
	googleInfo = `{"zone":"europe-west3-b","project_id":"clusters","instance_name":"node-1"}`
	amazonInfo = `{"accountId":"123456789012","imageId":"ami-0123456789abcdef0","instanceId":"i-0123456789abcdef0","region":"eu-central-1"}`
)

// pcr0Events are what a log says was measured into PCR 0.
func pcr0Events(t testing.TB, log []byte) (digests [][]byte) {
	t.Helper()
	parsed, err := tcg.ParseEventLog(log, tcg.ParseOpts{})
	require.NoError(t, err)
	for _, event := range parsed.Events(register.HashSHA256) {
		if event.MRIndex() == 0 && event.UntrustedType() != tcg.NoAction {
			digests = append(digests, event.ReplayedDigest())
		}
	}
	return digests
}

func replayed(digests [][]byte) []byte {
	value := make([]byte, sha256.Size)
	for _, event := range digests {
		value = digest(append(value, event...))
	}
	return value
}

func TestVTPMsOfClouds(t *testing.T) {
	sev := testdata.Cos101AmdSevEventLog
	for name, c := range map[string]struct {
		variant attestation.Variant
		info    string
		log     []byte
		change  func(*prover)
		google  func(*google)
		kind    error // nil means accepted
		text    string
	}{
		"GCP":                   {attestation.GCPSEVES, googleInfo, sev, nil, nil, nil, ""},
		"GCP, older":            {attestation.GCPSEVES, googleInfo, testdata.Cos85AmdSevEventLog, nil, nil, nil, ""},
		"GCP, no SEV":           {attestation.GCPSEVES, googleInfo, testdata.Rhel8EventLog, nil, nil, verify.ErrHardware, "instance runs under NONE, want AMD_SEV"},
		"GCP, SNP":              {attestation.GCPSEVES, googleInfo, testdata.Ubuntu2404AmdSevSnpEventLog, nil, nil, verify.ErrHardware, "instance runs under AMD_SEV_SNP, want AMD_SEV"},
		"GCP, other firmware":   {attestation.GCPSEVES, googleInfo, testdata.ArchLinuxWorkstationEventLog, nil, nil, verify.ErrHardware, "event log"},
		"GCP, no log":           {attestation.GCPSEVES, googleInfo, nil, nil, nil, verify.ErrHardware, "event log of some firmware"},
		"GCP, log is garbage":   {attestation.GCPSEVES, googleInfo, []byte("garbage"), nil, nil, verify.ErrHardware, "event log: "},
		"GCP, another's log":    {attestation.GCPSEVES, googleInfo, sev, func(p *prover) { p.banks[tpm2.AlgSHA256][0] = other }, nil, verify.ErrHardware, "event log: "},
		"GCP, no info":          {attestation.GCPSEVES, "", sev, nil, nil, verify.ErrDocument, "instance info: JSON is malformed"},
		"GCP, member twice":     {attestation.GCPSEVES, strings.Replace(googleInfo, `{`, `{"zone":"a",`, 1), sev, nil, nil, verify.ErrDocument, `"/zone" occurs twice`},
		"GCP, unknown member":   {attestation.GCPSEVES, strings.Replace(googleInfo, `{`, `{"x":"a",`, 1), sev, nil, nil, verify.ErrDocument, `"/x" is unknown`},
		"GCP, another project":  {attestation.GCPSEVES, strings.Replace(googleInfo, "clusters", "other", 1), sev, nil, nil, verify.ErrKey, `instance of the project "other", want "clusters"`},
		"GCP, another instance": {attestation.GCPSEVES, googleInfo, sev, (*prover).useOtherKey, nil, verify.ErrKey, "it is not that of the instance node-1"},
		"GCP, Google is away":   {attestation.GCPSEVES, googleInfo, sev, nil, func(g *google) { g.err = errors.New("no route") }, verify.ErrKey, "asking Google about it: no route"},
		"AWS":                   {attestation.AWSNitroTPM, amazonInfo, nil, nil, nil, nil, ""},
		"AWS, no info":          {attestation.AWSNitroTPM, "", nil, nil, nil, verify.ErrDocument, "no identity document of an EC2 instance"},
		"AWS, no image":         {attestation.AWSNitroTPM, strings.Replace(amazonInfo, "imageId", "image", 1), nil, nil, nil, verify.ErrDocument, "no identity document"},
		"AWS, info of Google":   {attestation.AWSNitroTPM, googleInfo, nil, nil, nil, verify.ErrDocument, "no identity document"},
		"AWS, other PCR":        {attestation.AWSNitroTPM, amazonInfo, nil, func(p *prover) { p.banks[tpm2.AlgSHA256][15] = other }, nil, verify.ErrMeasurement, "measurement 15"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProver()
			asked := &google{key: &p.key.PublicKey}
			p.info = []byte(c.info)
			if len(c.log) > 100 {
				p.banks[tpm2.AlgSHA256][0] = replayed(pcr0Events(t, c.log))
			}
			if c.change != nil {
				c.change(p)
			}
			if c.google != nil {
				c.google(asked)
			}
			policy, err := verify.ParsePolicy([]byte(policyOf[c.variant]))
			require.NoError(t, err)
			d := p.document(t, attestation.BindHashChain, userData, nonce)
			d.Attestation.EventLog = c.log
			err = verify.New(policy, attestation.BindHashChain, asked, nil).Validate(t.Context(), marshal(t, d), userData, nonce)
			if c.kind == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.text)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}
