package verify_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/attestation/verify"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/proto/sevsnp"
	amd "github.com/google/go-sev-guest/testing"
	snp "github.com/google/go-sev-guest/verify"
	genuine "github.com/google/go-sev-guest/verify/testdata"
	"github.com/google/go-sev-guest/verify/trust"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var idKey = bytes.Repeat([]byte{0x1d}, 48)

func digest(b []byte) []byte { d := sha256.Sum256(b); return d[:] }

// runtimeData has what Azure's has beside the key.
func runtimeData(key *rsa.PublicKey) []byte {
	n, e := base64.RawURLEncoding.EncodeToString(key.N.Bytes()), base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
	return []byte(`{"keys":[{"kid":"HCLAkPub","kty":"RSA","n":"` + n + `","e":"` + e + `"}],"vm-configuration":{"tpm-enabled":true},"user-data":"00"}`)
}

const minimumTCB = `"minimumTCB":{"bootloader":3,"tee":0,"snp":8,"microcode":115}`

// policyOf are honest policies.
var policyOf = map[attestation.Variant]string{
	attestation.AWSSEVSNP:   `{"variant":"aws-sev-snp","measurements":{"15":"` + strings.Repeat("00", 32) + `"},"snp":{` + minimumTCB + `}}`,
	attestation.GCPSEVSNP:   `{"variant":"gcp-sev-snp","measurements":{"15":"` + strings.Repeat("00", 32) + `"},"snp":{` + minimumTCB + `},"gcpProject":"clusters"}`,
	attestation.AzureSEVSNP: `{"variant":"azure-sev-snp","measurements":{"15":"` + strings.Repeat("00", 32) + `"},"snp":{` + minimumTCB + `,"idKeyDigests":["` + hex.EncodeToString(idKey) + `"]}}`,
}

// google says the same about every instance, and remembers about which.
type google struct {
	key   crypto.PublicKey
	err   error
	asked []instance.GCE
}

func (g *google) ShieldedKey(_ context.Context, of instance.GCE) (crypto.PublicKey, error) {
	g.asked = append(g.asked, of)
	return g.key, g.err
}

// snpCase is one thing wrong with an otherwise good machine.
type snpCase struct {
	variant attestation.Variant // all, if there is none
	vendor  *amd.AmdSigner
	report  func([]byte)        // before it is signed
	info    func(*instance.SNP) // after that
	raw     func(string) string // the JSON of the above
	prover  func(*prover)       // who quotes
	policy  func(string) string // JSON
	google  func(*google)
	kind    error
	text    string
}

func (c snpCase) validate(t *testing.T, variant attestation.Variant) (*google, error) {
	p := newProver()
	machine := snpMachine{variant: variant, vendor: fakeAMD(), report: c.report}
	if c.vendor != nil {
		machine.vendor = c.vendor
	}
	info := machine.info(t, p)
	if c.info != nil {
		c.info(&info)
	}
	raw, err := json.Marshal(info)
	require.NoError(t, err)
	p.info = raw
	if c.raw != nil {
		p.info = []byte(c.raw(string(raw)))
		require.NotEqual(t, string(raw), string(p.info), "the row changes nothing")
	}
	asked := &google{key: &p.key.PublicKey}
	if c.google != nil {
		c.google(asked)
	}
	if c.prover != nil {
		c.prover(p)
	}
	text := policyOf[variant]
	if c.policy != nil {
		text = c.policy(text)
		require.NotEqual(t, policyOf[variant], text, "the row changes nothing")
	}
	policy, err := verify.ParsePolicy([]byte(text))
	require.NoError(t, err)
	v := believing(verify.New(policy, attestation.BindHashChain, asked, nil))
	assert.Equal(t, variant, v.Variant())
	return asked, v.Validate(t.Context(), marshal(t, p.document(t, attestation.BindHashChain, userData, nonce)), userData, nonce)
}

func snpVariants(c snpCase) []attestation.Variant {
	if c.variant != "" {
		return []attestation.Variant{c.variant}
	}
	return []attestation.Variant{attestation.AWSSEVSNP, attestation.GCPSEVSNP, attestation.AzureSEVSNP}
}

func TestAcceptsSNP(t *testing.T) {
	pin := func(s string) string {
		fingerprint := newProver().fingerprint(t)
		return strings.Replace(s, `"snp"`, `"trustedAKs":["`+hex.EncodeToString(fingerprint[:])+`"],"snp"`, 1)
	}
	for name, c := range map[string]snpCase{
		"honest":                 {},
		"newer firmware at last": {report: func(r []byte) { setTCB(r, atCurrentTCB, kds.TCBParts{BlSpl: 4, SnpSpl: 9, UcodeSpl: 200}) }},
		"lower minimum":          {policy: replace(`"bootloader":3`, `"bootloader":2`)},
		"pinned key":             {policy: pin},
		"pinned key, no network": {variant: attestation.GCPSEVSNP, policy: pin, google: func(g *google) { g.err = errors.New("no route") }},
		"token that is not read": {variant: attestation.AzureSEVSNP, info: func(i *instance.SNP) { i.Azure.MAAToken = "a.b.c" }},
		"one of two ID keys":     {variant: attestation.AzureSEVSNP, policy: replace(`"idKeyDigests":[`, `"idKeyDigests":["`+strings.Repeat("00", 48)+`",`)},
		"root in the chain":      {variant: attestation.AzureSEVSNP, info: func(i *instance.SNP) { i.CertChain = append(i.CertChain, inPEM(fakeAMD().Ark.Raw)...) }},
	} {
		for _, variant := range snpVariants(c) {
			t.Run(name+", "+string(variant), func(t *testing.T) {
				asked, err := c.validate(t, variant)
				require.NoError(t, err)
				if variant == attestation.GCPSEVSNP && c.policy == nil {
					assert.Equal(t, []instance.GCE{{Zone: "europe-west3-b", Project: "clusters", Name: "node-1"}}, asked.asked)
				}
			})
		}
	}
}

func TestRefusesSNP(t *testing.T) {
	policyBits := func(p abi.SnpPolicy) func([]byte) {
		return func(r []byte) { binary.LittleEndian.PutUint64(r[atPolicy:], abi.SnpPolicyToBytes(p)) }
	}
	tcb := func(at int, parts kds.TCBParts) func([]byte) { return func(r []byte) { setTCB(r, at, parts) } }
	old := kds.TCBParts{BlSpl: 2, SnpSpl: 8, UcodeSpl: 115}
	for name, c := range map[string]snpCase{
		"debugging":            {report: policyBits(abi.SnpPolicy{SMT: true, Debug: true}), kind: verify.ErrHardware, text: "unauthorized debug"},
		"migration":            {report: policyBits(abi.SnpPolicy{SMT: true, MigrateMA: true}), kind: verify.ErrHardware, text: "unauthorized migration"},
		"privilege level 1":    {report: func(r []byte) { r[atVMPL] = 1 }, kind: verify.ErrHardware, text: "VMPL 1 is not 0"},
		"old at launch":        {report: tcb(atLaunchTCB, old), kind: verify.ErrHardware, text: "LAUNCH_TCB"},
		"old bootloader":       {policy: replace(`"bootloader":3`, `"bootloader":4`), kind: verify.ErrHardware, text: "REPORTED_TCB"},
		"old tee":              {policy: replace(`"tee":0`, `"tee":1`), kind: verify.ErrHardware, text: "REPORTED_TCB"},
		"old snp":              {policy: replace(`"snp":8`, `"snp":9`), kind: verify.ErrHardware, text: "REPORTED_TCB"},
		"old microcode":        {policy: replace(`"microcode":115`, `"microcode":116`), kind: verify.ErrHardware, text: "REPORTED_TCB"},
		"older than certified": {report: tcb(atReportedTCB, old), kind: verify.ErrHardware, text: "does not match the TCB of the V[CL]EK certificate"},
		"committed to more":    {report: tcb(atCommittedTCB, kds.TCBParts{BlSpl: 4, SnpSpl: 8, UcodeSpl: 115}), kind: verify.ErrHardware, text: "COMMITTED_TCB"},
		"changed afterwards":   {info: func(i *instance.SNP) { i.AttestationReport[0x90] ^= 1 }, kind: verify.ErrHardware, text: "signature"},
		"not signed": {info: func(i *instance.SNP) {
			i.AttestationReport[atSignerInfo] = 7 << 2
			clear(i.AttestationReport[atSignature:])
		}, kind: verify.ErrHardware, text: "signed by a None"},
		"unknown algorithm":    {report: func(r []byte) { r[atAlgorithm] = 2 }, kind: verify.ErrHardware, text: "unknown signature algorithm: 2"},
		"report of the future": {report: func(r []byte) { r[atVersion] = 6 }, kind: verify.ErrHardware, text: "version"},
		"half a report":        {info: func(i *instance.SNP) { i.AttestationReport = i.AttestationReport[:592] }, kind: verify.ErrDocument, text: "report of 592 bytes, want 1184"},
		"report and a byte":    {info: func(i *instance.SNP) { i.AttestationReport = append(i.AttestationReport, 0) }, kind: verify.ErrDocument, text: "report of 1185 bytes"},
		"reserved bytes":       {info: func(i *instance.SNP) { i.AttestationReport[0x4c] = 1 }, kind: verify.ErrDocument, text: "SNP report"},
		"other vendor":         {vendor: otherAMD(), kind: verify.ErrHardware, text: "signed by unknown authority"},
		"other vendor's root": {vendor: otherAMD(), info: func(i *instance.SNP) {
			i.CertChain = slices.Concat(inPEM(otherAMD().Ask.Raw), inPEM(otherAMD().Ark.Raw))
		}, kind: verify.ErrHardware, text: "could not be verified by any trusted roots"},
		"root alone":            {vendor: otherAMD(), info: func(i *instance.SNP) { i.CertChain = inPEM(otherAMD().Ark.Raw) }, kind: verify.ErrHardware, text: "could not be verified by any trusted roots"},
		"signer by another's":   {info: func(i *instance.SNP) { i.ReportSigner = inPEM(fakeAMD().Ark.Raw) }, kind: verify.ErrHardware, text: "expected ECDSA"},
		"signer not in PEM":     {info: func(i *instance.SNP) { i.ReportSigner = fakeAMD().Vcek.Raw }, kind: verify.ErrDocument, text: "report signer: no certificate in PEM"},
		"signer no certificate": {info: func(i *instance.SNP) { i.ReportSigner = inPEM([]byte("x")) }, kind: verify.ErrDocument, text: "report signer: x509"},
		"chain not in PEM":      {info: func(i *instance.SNP) { i.CertChain = fakeAMD().Ask.Raw }, kind: verify.ErrDocument, text: "certificate chain: no certificate in PEM"},

		"AWS, another key":          {variant: attestation.AWSSEVSNP, prover: func(p *prover) { p.useOtherKey() }, kind: verify.ErrHardware, text: "REPORT_DATA"},
		"AWS, other vendor's chain": {variant: attestation.AWSSEVSNP, vendor: otherAMD(), info: func(i *instance.SNP) { i.CertChain = inPEM(otherAMD().Asvk.Raw) }, kind: verify.ErrHardware, text: "signed by unknown authority"},
		"AWS, VCEK": {variant: attestation.AWSSEVSNP, report: func(r []byte) { binary.LittleEndian.PutUint32(r[atSignerInfo:], 0) },
			info: func(i *instance.SNP) { i.ReportSigner = inPEM(fakeAMD().Vcek.Raw) }, kind: verify.ErrHardware, text: "signed by a VCEK, want a VLEK"},

		"GCP, another nonce": {variant: attestation.GCPSEVSNP, report: func(r []byte) { r[atReportData] ^= 1 }, kind: verify.ErrHardware, text: "REPORT_DATA"},
		"GCP, more data":     {variant: attestation.GCPSEVSNP, report: func(r []byte) { r[atReportData+63] = 1 }, kind: verify.ErrHardware, text: "REPORT_DATA"},
		"GCP, VLEK": {variant: attestation.GCPSEVSNP, report: func(r []byte) { binary.LittleEndian.PutUint32(r[atSignerInfo:], 4) },
			info: func(i *instance.SNP) { i.ReportSigner = inPEM(fakeAMD().Vlek.Raw) }, kind: verify.ErrHardware, text: "signed by a VLEK, want a VCEK"},
		"GCP, no intermediate":                     {variant: attestation.GCPSEVSNP, info: func(i *instance.SNP) { i.CertChain = nil }, kind: verify.ErrHardware, text: "missing intermediate"},
		"GCP, not said where":                      {variant: attestation.GCPSEVSNP, info: func(i *instance.SNP) { i.GCP = nil }, kind: verify.ErrDocument, text: "instance info without GCP"},
		"GCP, another project":                     {variant: attestation.GCPSEVSNP, info: func(i *instance.SNP) { i.GCP.Project = "evil\nproject" }, kind: verify.ErrKey, text: `instance of the project "evil\nproject", want "clusters"`},
		"GCP, path for a name":                     {variant: attestation.GCPSEVSNP, info: func(i *instance.SNP) { i.GCP.Name = "../node-1" }, kind: verify.ErrDocument, text: "no instance has the zone and name"},
		"GCP, no zone":                             {variant: attestation.GCPSEVSNP, info: func(i *instance.SNP) { i.GCP.Zone = "" }, kind: verify.ErrDocument, text: "no instance has the zone and name"},
		"GCP, another instance":                    {variant: attestation.GCPSEVSNP, google: func(g *google) { g.key = &amd.DefaultArk().PublicKey }, kind: verify.ErrKey, text: "it is not that of the instance node-1 in europe-west3-b"},
		"GCP, no key":                              {variant: attestation.GCPSEVSNP, google: func(g *google) { g.key = nil }, kind: verify.ErrKey, text: "it is not that of the instance"},
		"GCP, Google is away":                      {variant: attestation.GCPSEVSNP, google: func(g *google) { g.err = errors.New("no route") }, kind: verify.ErrKey, text: "asking Google about it: no route"},
		"GCP, instance info has an unknown member": {variant: attestation.GCPSEVSNP, raw: replace(`"zone"`, `"extra":1,"zone"`), kind: verify.ErrDocument, text: `instance info: JSON member "/GCP/extra" is unknown`},

		"Azure, another key":          {variant: attestation.AzureSEVSNP, prover: func(p *prover) { p.useOtherKey() }, kind: verify.ErrKey, text: "it is not the one in the runtime data"},
		"Azure, other runtime data":   {variant: attestation.AzureSEVSNP, info: func(i *instance.SNP) { i.Azure.RuntimeData = append(i.Azure.RuntimeData, ' ') }, kind: verify.ErrHardware, text: "report is about runtime data with the hash"},
		"Azure, no runtime data":      {variant: attestation.AzureSEVSNP, info: func(i *instance.SNP) { i.Azure = nil }, kind: verify.ErrDocument, text: "instance info without Azure"},
		"Azure, another ID key":       {variant: attestation.AzureSEVSNP, report: func(r []byte) { r[atIDKeyDigest] ^= 1 }, kind: verify.ErrHardware, text: "ID key not trusted"},
		"Azure, launched without one": {variant: attestation.AzureSEVSNP, report: func(r []byte) { clear(r[atIDKeyDigest : atIDKeyDigest+48]) }, kind: verify.ErrHardware, text: "ID key not trusted"},
		"Azure, runtime data of null": {variant: attestation.AzureSEVSNP, raw: func(s string) string {
			return s[:strings.Index(s, `"RuntimeData":`)] + `"RuntimeData":null,"MAAToken":""},"GCP":null}`
		}, kind: verify.ErrHardware, text: "report is about runtime data"},

		"unknown member":   {raw: replace(`"CertChain"`, `"Extra":1,"CertChain"`), kind: verify.ErrDocument, text: `"/Extra" is unknown`},
		"member missing":   {raw: replace(`,"GCP":`, `,"CertChain2":`), kind: verify.ErrDocument, text: `"/CertChain2" is`},
		"no instance info": {prover: func(p *prover) { p.info = nil }, kind: verify.ErrDocument, text: "instance info: JSON is malformed"},
		"info of null":     {prover: func(p *prover) { p.info = []byte("null") }, kind: verify.ErrDocument, text: `instance info: JSON member "" is null`},
		"no report": {raw: func(s string) string {
			return s[:strings.Index(s, `"AttestationReport":`)] + `"AttestationReport":null,"Azure":null,"GCP":null}`
		}, kind: verify.ErrDocument, text: `"/AttestationReport" is null`},
		"PCR 15 is not zero": {prover: func(p *prover) { p.banks[11][15] = other }, kind: verify.ErrMeasurement, text: "measurement 15 differs"},
	} {
		for _, variant := range snpVariants(c) {
			t.Run(name+", "+string(variant), func(t *testing.T) {
				_, err := c.validate(t, variant)
				require.ErrorIs(t, err, c.kind)
				assert.ErrorContains(t, err, c.text)
				assert.NotContains(t, err.Error(), "\n")
				assert.Less(t, len(err.Error()), 1000)
			})
		}
	}
}

// TestGenuineReport: with the roots in the library, a report of a real machine is
// found to be genuine, and refused because the machine lets itself be debugged.
// With a root of another name it is not even genuine.
func TestGenuineReport(t *testing.T) {
	policy, err := verify.ParsePolicy([]byte(strings.NewReplacer(`"bootloader":3`, `"bootloader":0`, `"snp":8`, `"snp":0`, `"microcode":115`, `"microcode":0`).Replace(policyOf[attestation.AzureSEVSNP])))
	require.NoError(t, err)
	p := newProver()
	p.info, err = json.Marshal(instance.SNP{
		ReportSigner: inPEM(genuine.VcekBytes), AttestationReport: genuine.AttestationBytes[:abi.ReportSize],
		Azure: &instance.Azure{RuntimeData: runtimeData(&p.key.PublicKey)},
	})
	require.NoError(t, err)
	raw := marshal(t, p.document(t, attestation.BindHashChain, userData, nonce))
	v := verify.New(policy, attestation.BindHashChain, nil, nil)
	err = v.Validate(t.Context(), raw, userData, nonce)
	require.ErrorIs(t, err, verify.ErrHardware)
	assert.ErrorContains(t, err, "unauthorized debug")
	assert.NotContains(t, err.Error(), "signature")

	err = believing(v).Validate(t.Context(), raw, userData, nonce)
	require.ErrorIs(t, err, verify.ErrHardware)
	assert.ErrorContains(t, err, "could not be verified")
}

// TestPinnedRootsAreAMDs: there is one root of each generation, above both kinds
// of keys.
func TestPinnedRootsAreAMDs(t *testing.T) {
	for generation, chains := range map[string][2][]byte{
		"Milan": {trust.AskArkMilanVcekBytes, trust.AskArkMilanVlekBytes},
		"Genoa": {trust.AskArkGenoaVcekBytes, trust.AskArkGenoaVlekBytes},
	} {
		_, vcek, err := kds.ParseProductCertChain(chains[0])
		require.NoError(t, err)
		_, vlek, err := kds.ParseProductCertChain(chains[1])
		require.NoError(t, err)
		assert.Equal(t, vcek, vlek, "both chains of %s end in one root", generation)
	}
}

// TestVariantsThatRelease21HasNot: nothing ties their instance info to a quote of
// that release.
func TestVariantsThatRelease21HasNot(t *testing.T) {
	for _, variant := range []attestation.Variant{attestation.AWSNitroTPM, attestation.AWSSEVSNP, attestation.GCPSEVSNP, attestation.AzureTDX} {
		policy, err := verify.ParsePolicy([]byte(policyOf[variant]))
		require.NoError(t, err)
		v := verify.New(policy, attestation.BindSigned, nil, nil)
		raw := marshal(t, newProver().document(t, attestation.BindSigned, userData, nonce))
		err = v.Validate(t.Context(), raw, userData, nonce)
		require.ErrorIs(t, err, verify.ErrPolicy)
		assert.ErrorContains(t, err, "release 2.1 has no documents of "+string(variant))
	}
}

// TestLibraryBelievesAnyRoot is why trusted roots are always handed to it.
func TestLibraryBelievesAnyRoot(t *testing.T) {
	report, err := abi.ReportToProto(signed(t, otherAMD(), unsigned(abi.VcekReportSigner, make([]byte, 64))))
	require.NoError(t, err)
	made := &sevsnp.Attestation{Report: report, CertificateChain: &sevsnp.CertificateChain{
		VcekCert: otherAMD().Vcek.Raw, AskCert: otherAMD().Ask.Raw, ArkCert: otherAMD().Ark.Raw,
	}}
	assert.NoError(t, snp.SnpAttestation(made, &snp.Options{DisableCertFetching: true, Now: time.Now()}),
		"it has learnt to refuse: the comment in snp.go can go")
}
