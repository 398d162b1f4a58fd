package verify_test

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/attestation/verify"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-sev-guest/abi"
	genuine "github.com/google/go-tdx-guest/testing/testdata"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func replace(old, new string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, new, 1) }
}

func TestRefusesJSON(t *testing.T) {
	cases := map[string]refusal{
		"empty":                    {raw: func(string) string { return "" }, text: "malformed: EOF"},
		"null":                     {raw: func(string) string { return "null" }, text: `"" is null`},
		"array":                    {raw: func(s string) string { return "[" + s + "]" }, text: "holds array"},
		"cut":                      {raw: func(s string) string { return s[:len(s)-1] }, text: "malformed: EOF"},
		"object after the end":     {raw: func(s string) string { return s + "{}" }, text: "followed by more data"},
		"garbage after the end":    {raw: func(s string) string { return s + "]" }, text: "followed by more data"},
		"unknown member":           {raw: replace(`"UserData"`, `"Extra":1,"UserData"`), text: `"/Extra" is unknown`},
		"unknown member, deep":     {raw: replace(`"raw_sig"`, `"extra":1,"raw_sig"`), text: `"/Attestation/quotes/0/extra" is unknown`},
		"unknown member, deepest":  {raw: replace(`"hash"`, `"extra":1,"hash"`), text: `"/Attestation/quotes/0/pcrs/extra" is unknown`},
		"name in another case":     {raw: replace(`"UserData"`, `"userData"`), text: `"/userData" is unknown`},
		"names in both cases":      {raw: replace(`"UserData"`, `"userdata":"AA==","UserData"`), text: `"/userdata" is unknown`},
		"name twice":               {raw: replace(`"UserData"`, `"UserData":"AA==","UserData"`), text: `"/UserData" occurs twice`},
		"name twice, escaped":      {raw: replace(`"UserData"`, `"User\u0044ata":"AA==","UserData"`), text: `"/UserData" occurs twice`},
		"name twice, deep":         {raw: replace(`"quotes"`, `"ak_pub":"AA==","quotes"`), text: `"/Attestation/ak_pub" occurs twice`},
		"PCR twice":                {raw: replace(`"pcrs":{"0"`, `"pcrs":{"15":"AA==","0"`), text: `"/Attestation/quotes/0/pcrs/pcrs/15" occurs twice`},
		"PCR with leading zero":    {raw: replace(`"15":`, `"015":`), text: `/pcrs/015" is unknown`},
		"PCR with a sign":          {raw: replace(`"15":`, `"+15":`), text: `/pcrs/+15" is unknown`},
		"PCR -1":                   {raw: replace(`"15":`, `"-1":`), text: "PCR -1 does not exist"},
		"no user data":             {raw: replace(`"UserData"`, `"InstanceInfo"`), text: `"/InstanceInfo" occurs twice`},
		"instance info missing":    {raw: replace(`"InstanceInfo":null,`, ""), text: `"/InstanceInfo" is missing`},
		"user data null":           {raw: func(s string) string { return s[:strings.Index(s, `"UserData"`)] + `"UserData":null}` }, text: `"/UserData" is null`},
		"user data missing":        {raw: func(s string) string { return s[:strings.Index(s, `,"UserData"`)] + `}` }, text: `"/UserData" is missing`},
		"user data as an array":    {raw: func(s string) string { return s[:strings.Index(s, `"UserData"`)] + `"UserData":[170]}` }, text: `"/UserData" is not written as its value is`},
		"line break in base64":     {raw: replace(`"quote":"`, `"quote":"\n`), text: `"/Attestation/quotes/0/quote" is not written as its value is`},
		"base64 without padding":   {raw: replace(`="`, `"`), text: "illegal base64"},
		"base64 with spare bits":   {raw: replace(`A="`, `B="`), text: `"/Attestation/quotes/0/pcrs/pcrs/0" is not written as its value is`},
		"quotes null":              {raw: replace(`"quotes":[`, `"quotes":null,"x":[`), text: `"/Attestation/quotes" is null`},
		"quote null":               {raw: replace(`"quotes":[`, `"quotes":[null,`), text: `"/Attestation/quotes/0" is null`},
		"quote without PCRs":       {raw: replace(`"quotes":[`, `"quotes":[{"quote":"","raw_sig":""},`), text: `"/Attestation/quotes/0/pcrs" is missing`},
		"quote of null":            {raw: replace(`"quotes":[`, `"quotes":[{"quote":null,"raw_sig":"","pcrs":{"hash":4,"pcrs":{}}},`), text: `"/Attestation/quotes/0/quote" is null`},
		"PCR null":                 {raw: replace(`"pcrs":{"0"`, `"pcrs":{"23":null,"0"`), text: `/pcrs/23" is null`},
		"quotes with a comma more": {raw: replace(`}}}]`, `}}},]`), text: "looking for beginning of value"},
		"hash as a string":         {raw: replace(`"hash":11`, `"hash":"11"`), text: `hash" holds string, want uint16`},
		"hash as a fraction":       {raw: replace(`"hash":11`, `"hash":11.5`), text: "holds number 11.5"},
		"hash of 17 bits":          {raw: replace(`"hash":11`, `"hash":65547`), text: "holds number 65547"},
		"hash null":                {raw: replace(`"hash":11`, `"hash":null`), text: `/hash" is null`},
		"deep nesting": {raw: replace(`"event_log"`, `"TeeAttestation":`+strings.Repeat("[", 90_000)+`,"event_log"`),
			text: "nested deeper than 32"},
	}
	for name, c := range cases {
		c.kind = verify.ErrDocument
		c.document = func(d *attestation.Document) { d.Attestation.EventLog = []byte("some log") }
		cases[name] = c
	}
	run(t, cases)
}

// TestGoldenDocuments validates documents that a swtpm with four banks made
// for these tests' user data and nonce.
func TestGoldenDocuments(t *testing.T) {
	for file, binding := range map[string]attestation.Binding{
		"document.json": attestation.BindHashChain, "document-2.1.json": attestation.BindSigned,
	} {
		raw, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(t, err)
		v := verify.New(policy(t, map[int]verify.Measurement{12: {Expected: zero}, 15: {Expected: zero}}), binding, nil, nil)
		assert.NoError(t, v.Validate(t.Context(), raw, userData, nonce), file)
	}
}

// FuzzValidate: no document makes the validator panic, none passes without the
// pinned key, and what the parser accepts it accepts again in our own form.
func FuzzValidate(f *testing.F) {
	p := newProver()
	f.Add(marshal(f, p.document(f, attestation.BindHashChain, userData, nonce)))
	f.Add(marshal(f, p.document(f, attestation.BindSigned, userData, nonce)))
	for _, file := range []string{"document.json", "document-2.1.json"} {
		golden, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(f, err)
		f.Add(golden)
	}
	v := verify.New(policy(f, honest(), [32]byte(other)), attestation.BindHashChain, nil, nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		refused := v.Validate(t.Context(), raw, userData, nonce)
		require.Error(t, refused, "the key is not the pinned one")
		requirePrintable(t, refused)
		d, err := verify.ParseDocument(raw)
		if err != nil {
			require.ErrorIs(t, err, verify.ErrDocument)
			return
		}
		again, err := verify.ParseDocument(marshal(t, d))
		require.NoError(t, err)
		assert.Equal(t, marshal(t, d), marshal(t, again))
	})
}

func FuzzParsePolicy(f *testing.F) {
	for _, c := range goodPolicies {
		f.Add([]byte(c))
	}
	for _, c := range policyOf {
		f.Add([]byte(c))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := verify.ParsePolicy(raw)
		if err != nil {
			require.ErrorIs(t, err, verify.ErrPolicy)
			requirePrintable(t, err)
			return
		}
		v := verify.New(p, attestation.BindHashChain, nil, nil)
		require.NotErrorIs(t, v.Validate(t.Context(), nil, nil, nil), verify.ErrPolicy)
	})
}

// FuzzInstanceInfo: whatever a machine says about itself, no variant panics, and
// none takes it for genuine. The seeds have no good certificates, which would only
// cost time.
func FuzzInstanceInfo(f *testing.F) {
	key := &softwareKey().PublicKey
	variants := []attestation.Variant{attestation.AWSSEVSNP, attestation.GCPSEVSNP, attestation.AzureSEVSNP, attestation.AzureTDX,
		attestation.AzureTrustedLaunch, attestation.GCPSEVES} // the others take anybody's word
	var validators []attestation.Validator
	for _, variant := range variants {
		policy, err := verify.ParsePolicy([]byte(policyOf[variant]))
		require.NoError(f, err)
		validators = append(validators, verify.New(policy, attestation.BindHashChain, &google{key: key}, nil))
	}
	seed := func(variant uint8, info any, eventLog []byte) {
		raw, err := json.Marshal(info)
		require.NoError(f, err)
		f.Add(variant, raw, eventLog)
	}
	report := instance.SNP{ReportSigner: inPEM([]byte("x")), AttestationReport: unsigned(abi.VcekReportSigner, make([]byte, 64)), Azure: &instance.Azure{}, GCP: &instance.GCE{}}
	for i := range uint8(3) {
		seed(i, report, nil)
	}
	quote := slices.Clone(genuine.RawQuote[:1200])
	binary.LittleEndian.PutUint32(quote[632:], uint32(len(quote)-636))
	seed(3, instance.TDX{AttestationReport: quote, RuntimeData: runtimeData(key)}, nil)
	seed(4, instance.TrustedLaunch{AkCert: []byte{0x30, 0}, CA: []byte{0x30, 0}}, nil)
	seed(5, json.RawMessage(googleInfo), testdata.Rhel8EventLog[:1000])
	f.Fuzz(func(t *testing.T, which uint8, info, eventLog []byte) {
		refused := verify.Trust(t.Context(), validators[int(which)%len(validators)], key, info, eventLog)
		require.Error(t, refused)
		requirePrintable(t, refused)
	})
}
