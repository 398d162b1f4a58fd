package verify_test

import (
	"bytes"
	"context"
	"crypto"
	_ "crypto/sha1" // banks of event logs
	"crypto/sha256"
	_ "crypto/sha512"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/attestation/verify"
	"disk-mapper/internal/fairlistener"

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

// saying is log as firmware would write it that says another technology.
func saying(log []byte, technology byte) []byte {
	at := bytes.Index(log, []byte("GCE NonHostInfo\x00"))
	length := int(binary.LittleEndian.Uint32(log[at-4:]))
	before := bytes.Clone(log[at : at+length])
	after := bytes.Clone(before)
	after[len("GCE NonHostInfo\x00")] = technology
	log = bytes.ReplaceAll(log, before, after)
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384} {
		of := func(data []byte) []byte { h := hash.New(); h.Write(data); return h.Sum(nil) }
		log = bytes.ReplaceAll(log, of(before), of(after))
	}
	return log
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
		"GCP, no SEV":           {attestation.GCPSEVES, googleInfo, testdata.Rhel8EventLog, nil, nil, verify.ErrHardware, "instance runs under NONE, want one of [AMD_SEV_ES AMD_SEV]"},
		"GCP, SEV-ES":           {attestation.GCPSEVES, googleInfo, saying(sev, 2), nil, nil, nil, ""},
		"GCP, TDX":              {attestation.GCPSEVES, googleInfo, saying(sev, 3), nil, nil, verify.ErrHardware, "instance runs under INTEL_TDX"},
		"GCP, SNP":              {attestation.GCPSEVES, googleInfo, testdata.Ubuntu2404AmdSevSnpEventLog, nil, nil, verify.ErrHardware, "instance runs under AMD_SEV_SNP, want one of [AMD_SEV_ES AMD_SEV]"},
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

// TestSEVES: a policy may want the log to say what the variant's name says.
func TestSEVES(t *testing.T) {
	for name, tt := range map[string]struct {
		technology byte
		want       error
	}{"SEV": {1, verify.ErrHardware}, "SEV-ES": {2, nil}, "SNP": {4, verify.ErrHardware}} {
		t.Run(name, func(t *testing.T) {
			p := newProver()
			p.info = []byte(googleInfo)
			log := saying(testdata.Cos101AmdSevEventLog, tt.technology)
			p.banks[tpm2.AlgSHA256][0] = replayed(pcr0Events(t, log))
			policy, err := verify.ParsePolicy([]byte(strings.Replace(policyOf[attestation.GCPSEVES], `{`, `{"sevES":true,`, 1)))
			require.NoError(t, err)
			d := p.document(t, attestation.BindHashChain, userData, nonce)
			d.Attestation.EventLog = log
			v := verify.New(policy, attestation.BindHashChain, &google{key: &p.key.PublicKey}, nil)
			require.ErrorIs(t, v.Validate(t.Context(), marshal(t, d), userData, nonce), tt.want)
		})
	}
}

// stranger is a machine with a document of gcp-sev-es.
func stranger(t *testing.T, change func(*prover)) (key crypto.PublicKey, document []byte) {
	t.Helper()
	p := newProver()
	p.info = []byte(googleInfo)
	log := testdata.Cos101AmdSevEventLog
	p.banks[tpm2.AlgSHA256][0] = replayed(pcr0Events(t, log))
	change(p)
	d := p.document(t, attestation.BindHashChain, userData, nonce)
	d.Attestation.EventLog = log
	return &p.key.PublicKey, marshal(t, d)
}

// TestGoogleIsAskedLast: nothing that a stranger without an honest node's PCRs does
// makes us ask, and a good answer is remembered for a while.
func TestGoogleIsAskedLast(t *testing.T) {
	policy, err := verify.ParsePolicy([]byte(policyOf[attestation.GCPSEVES]))
	require.NoError(t, err)
	honestKey, honest := stranger(t, func(*prover) {})
	for name, tt := range map[string]struct {
		change func(*prover)
		times  int
		want   error
		asked  int
	}{
		"other measurements":  {func(p *prover) { p.banks[tpm2.AlgSHA256][15] = other }, 100, verify.ErrMeasurement, 0},
		"another's log":       {func(p *prover) { p.banks[tpm2.AlgSHA256][0] = other }, 100, verify.ErrHardware, 0},
		"another project":     {func(p *prover) { p.info = []byte(strings.Replace(googleInfo, "clusters", "x", 1)) }, 100, verify.ErrKey, 0},
		"the honest one":      {func(*prover) {}, 100, nil, 1},
		"another key's claim": {(*prover).useOtherKey, 2, verify.ErrKey, 2},
	} {
		t.Run(name, func(t *testing.T) {
			asked := &google{key: honestKey}
			v := verify.New(policy, attestation.BindHashChain, asked, nil)
			_, document := stranger(t, tt.change)
			for range tt.times {
				require.ErrorIs(t, v.Validate(t.Context(), document, userData, nonce), tt.want)
			}
			assert.Len(t, asked.asked, tt.asked)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		asked := &google{key: honestKey}
		v := verify.New(policy, attestation.BindHashChain, asked, nil)
		for range 3 {
			require.NoError(t, v.Validate(t.Context(), honest, userData, nonce))
			time.Sleep(9 * time.Minute)
		}
		assert.Len(t, asked.asked, 2, "an answer is not kept for ever")
	})
}

// counting answers after a second.
type counting struct {
	mu                sync.Mutex
	asked, now, atOne int
	began             []time.Time
}

func (c *counting) ShieldedKey(context.Context, instance.GCE) (crypto.PublicKey, error) {
	c.mu.Lock()
	c.asked, c.now = c.asked+1, c.now+1
	c.began = append(c.began, time.Now())
	c.atOne = max(c.atOne, c.now)
	c.mu.Unlock()
	time.Sleep(time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now--
	return nil, errors.New("no such instance")
}

func TestQuestionsToGoogleAreRationed(t *testing.T) {
	policy, err := verify.ParsePolicy([]byte(policyOf[attestation.GCPSEVES]))
	require.NoError(t, err)
	_, document := stranger(t, func(*prover) {})
	synctest.Test(t, func(t *testing.T) {
		asked := &counting{}
		v := verify.New(policy, attestation.BindHashChain, asked, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() { assert.ErrorIs(t, v.Validate(from(ctx, byte(i)), document, userData, nonce), verify.ErrKey) })
		}
		all.Wait()
		assert.LessOrEqual(t, asked.atOne, 4)
		assert.LessOrEqual(t, asked.asked, 4*(10+1))
		assert.Positive(t, asked.asked)
		for i := range len(asked.began) - 1 {
			assert.GreaterOrEqual(t, asked.began[i+1].Sub(asked.began[i]), 50*time.Millisecond, "question %d", i+1)
		}
	})
}

// from is the work for a peer at this address.
func from(ctx context.Context, host byte) context.Context {
	return fairlistener.NetworkOf(&net.TCPAddr{IP: net.IPv4(192, 0, 2, host)}).In(ctx)
}

// Strangers can forge all that comes before the question to Google, as often as they
// like. However many come from one address, and come again, they have one question on its
// way at a time, and another one's peer waits for no more than the pause after it.
func TestQuestionsToGoogleAreShared(t *testing.T) {
	policy, err := verify.ParsePolicy([]byte(policyOf[attestation.GCPSEVES]))
	require.NoError(t, err)
	_, document := stranger(t, func(*prover) {})
	synctest.Test(t, func(t *testing.T) {
		v := verify.New(policy, attestation.BindHashChain, &counting{}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		defer flood.Wait()
		defer cancel()
		for range 200 { // more than there are places
			flood.Go(func() {
				for ctx.Err() == nil {
					assert.ErrorIs(t, v.Validate(from(ctx, 1), document, userData, nonce), verify.ErrKey)
					time.Sleep(time.Second)
				}
			})
		}
		for range 3 {
			time.Sleep(2300 * time.Millisecond) // while a question of the flood is on its way
			start := time.Now()
			require.ErrorContains(t, v.Validate(from(ctx, 2), document, userData, nonce), "no such instance", "it was asked")
			require.LessOrEqual(t, time.Since(start), 1050*time.Millisecond)
		}
	})
}
