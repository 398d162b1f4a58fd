package verify_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func replace(old, new string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, new, 1) }
}

func TestRefusesJSON(t *testing.T) {
	cases := map[string]refusal{
		"empty":                    {raw: func(string) string { return "" }, text: "begins with {"},
		"null":                     {raw: func(string) string { return "null" }, text: "begins with {"},
		"array":                    {raw: func(s string) string { return "[" + s + "]" }, text: "begins with {"},
		"cut":                      {raw: func(s string) string { return s[:len(s)-1] }, text: "unfinished"},
		"object after the end":     {raw: func(s string) string { return s + "{}" }, text: "text after the end"},
		"garbage after the end":    {raw: func(s string) string { return s + "]" }, text: "text after the end"},
		"unknown member":           {raw: replace(`"UserData"`, `"Extra":1,"UserData"`), text: `"Extra": unknown member`},
		"unknown member, deep":     {raw: replace(`"raw_sig"`, `"extra":1,"raw_sig"`), text: `"extra": unknown member`},
		"unknown member, deepest":  {raw: replace(`"hash"`, `"extra":1,"hash"`), text: `"extra": unknown member`},
		"name in another case":     {raw: replace(`"UserData"`, `"userData"`), text: `"userData": unknown member`},
		"name twice":               {raw: replace(`"UserData"`, `"UserData":"AA==","UserData"`), text: `"UserData": given twice`},
		"name twice, escaped":      {raw: replace(`"UserData"`, `"User\u0044ata":"AA==","UserData"`), text: `"UserData": given twice`},
		"name twice, deep":         {raw: replace(`"quotes"`, `"ak_pub":"AA==","quotes"`), text: `"ak_pub": given twice`},
		"PCR twice":                {raw: replace(`"pcrs":{"0"`, `"pcrs":{"15":"AA==","0"`), text: `"15": given twice`},
		"PCR with leading zero":    {raw: replace(`"15":`, `"015":`), text: "not the index of a PCR"},
		"PCR with a sign":          {raw: replace(`"15":`, `"+15":`), text: "not the index of a PCR"},
		"PCR -1":                   {raw: replace(`"15":`, `"-1":`), text: "PCR -1 does not exist"},
		"no user data":             {raw: replace(`"UserData"`, `"InstanceInfo"`), text: "given twice"},
		"user data null":           {raw: func(s string) string { return s[:strings.Index(s, `"UserData"`)] + `"UserData":null}` }, text: `"UserData": is null`},
		"user data missing":        {raw: func(s string) string { return s[:strings.Index(s, `,"UserData"`)] + `}` }, text: "member UserData is missing"},
		"user data as an array":    {raw: func(s string) string { return s[:strings.Index(s, `"UserData"`)] + `"UserData":[170]}` }, text: "want a string"},
		"line break in base64":     {raw: replace(`"quote":"`, `"quote":"\n`), text: "line break in base64"},
		"base64 without padding":   {raw: replace(`="`, `"`), text: "not base64"},
		"base64 with spare bits":   {raw: replace(`A="`, `B="`), text: "not base64"},
		"quotes null":              {raw: replace(`"quotes":[`, `"quotes":null,"x":[`), text: "begins with ["},
		"quote null":               {raw: replace(`"quotes":[`, `"quotes":[null,`), text: "element 1: want a value that begins with {"},
		"quote without PCRs":       {raw: replace(`"quotes":[`, `"quotes":[{"quote":"","raw_sig":""},`), text: "member pcrs is missing"},
		"quotes with a comma more": {raw: replace(`}}}]`, `}}},]`), text: "looking for beginning of value"},
		"hash as a string":         {raw: replace(`"hash":11`, `"hash":"11"`), text: "want a uint16"},
		"hash as a fraction":       {raw: replace(`"hash":11`, `"hash":11.5`), text: "want a uint16"},
		"hash of 17 bits":          {raw: replace(`"hash":11`, `"hash":65547`), text: "want a uint16"},
		"hash null":                {raw: replace(`"hash":11`, `"hash":null`), text: "is null"},
		"deep nesting": {raw: replace(`"event_log"`, `"TeeAttestation":`+strings.Repeat("[", 90_000)+`,"event_log"`),
			text: "exceeded max depth"},
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
		v := verify.QEMUVTPM(policy(t, map[int]verify.Measurement{12: {Expected: zero}, 15: {Expected: zero}}), binding, nil)
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
	v := verify.QEMUVTPM(policy(f, honest(), [32]byte(other)), attestation.BindHashChain, nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		require.Error(t, v.Validate(t.Context(), raw, userData, nonce), "the key is not the pinned one")
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
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := verify.ParsePolicy(raw)
		if err != nil {
			require.ErrorIs(t, err, verify.ErrPolicy)
			return
		}
		v := verify.QEMUVTPM(p, attestation.BindHashChain, nil)
		require.NotErrorIs(t, v.Validate(t.Context(), nil, nil, nil), verify.ErrPolicy)
	})
}
