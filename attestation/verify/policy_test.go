package verify_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	hexOf       = func(i int) string { return hex.EncodeToString(value(i)) }
	base64Of    = func(i int) string { return base64.StdEncoding.EncodeToString(value(i)) }
	fingerprint = strings.Repeat("cc", 32)
)

// goodPolicies are five ways to say the same to newProver, except in the pins.
var goodPolicies = map[string]string{
	"current":      `{"measurements":{"15":{"expected":"` + hexOf(15) + `","warnOnly":false},"4":{"expected":"` + hexOf(5) + `","warnOnly":true}}}`,
	"spaces":       ` { "measurements" : { "15" : "` + hexOf(15) + `" , "4" : { "warnOnly" : true , "expected" : "` + hexOf(5) + `" } } } `,
	"bare string":  `{"measurements":{"15":"` + hexOf(15) + `","4":{"expected":"` + strings.ToUpper(hexOf(5)) + `","warnOnly":true}}}`,
	"default":      `{"measurements":{"15":{"expected":"` + hexOf(15) + `"},"4":{"warnOnly":true,"expected":"` + hexOf(5) + `"}}}`,
	"release 2.1":  `{"measurements":{"15":"` + base64Of(15) + `","4":"` + base64Of(5) + `"},"enforcedPCRs":[15]}`,
	"list first":   `{"enforcedPCRs":[15],"measurements":{"15":"` + base64Of(15) + `","4":"` + base64Of(5) + `"}}`,
	"pinned":       `{"measurements":{"15":"` + hexOf(15) + `","4":{"expected":"` + hexOf(5) + `","warnOnly":true}},"trustedAKs":["` + fingerprint + `"]}`,
	"pinned in 21": `{"measurements":{"15":"` + base64Of(15) + `","4":"` + base64Of(5) + `"},"enforcedPCRs":[15],"trustedAKs":["` + fingerprint + `"]}`,
}

func TestParsePolicy(t *testing.T) {
	for name, text := range goodPolicies {
		t.Run(name, func(t *testing.T) {
			policy, err := verify.ParsePolicy([]byte(text))
			require.NoError(t, err)
			var warned []string
			v := verify.New(policy, attestation.BindHashChain, nil, func(_ context.Context, s string) { warned = append(warned, s) })
			good, bad := newProver(), newProver()
			bad.banks[11][15] = other
			if strings.Contains(text, "trustedAKs") {
				err := v.Validate(t.Context(), marshal(t, good.document(t, attestation.BindHashChain, userData, nonce)), userData, nonce)
				assert.ErrorIs(t, err, verify.ErrKey)
				return
			}
			require.NoError(t, v.Validate(t.Context(), marshal(t, good.document(t, attestation.BindHashChain, userData, nonce)), userData, nonce))
			assert.Equal(t, []string{"measurement 4 differs: expected " + hexOf(5) + ", got " + hexOf(4)}, warned)
			err = v.Validate(t.Context(), marshal(t, bad.document(t, attestation.BindHashChain, userData, nonce)), userData, nonce)
			assert.ErrorIs(t, err, verify.ErrMeasurement)
		})
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	good, good21 := `"`+hexOf(15)+`"`, `"`+base64Of(15)+`"`
	cases := map[string]struct{ text, want string }{
		"empty file":                  {``, "malformed: EOF"},
		"empty object":                {`{}`, `"/measurements" is missing`},
		"empty set":                   {`{"measurements":{}}`, "no measurement is enforced"},
		"empty set of 2.1":            {`{"measurements":{},"enforcedPCRs":[]}`, "no measurement is enforced"},
		"set is null":                 {`{"measurements":null}`, `"/measurements" is null`},
		"nothing enforced":            {`{"measurements":{"15":{"expected":` + good + `,"warnOnly":true}}}`, "no measurement is enforced"},
		"nothing enforced in 2.1":     {`{"measurements":{"15":` + good21 + `},"enforcedPCRs":[]}`, "no measurement is enforced"},
		"unknown member":              {`{"measurements":{"15":` + good + `},"csp":"qemu"}`, `"/csp" is unknown`},
		"unknown member of a value":   {`{"measurements":{"15":{"expected":` + good + `,"warn":true}}}`, `measurement 15: JSON member "/warn" is unknown`},
		"another case":                {`{"Measurements":{"15":` + good + `}}`, `"/Measurements" is unknown`},
		"member twice":                {`{"measurements":{"15":` + good + `},"measurements":{"15":` + good + `}}`, `"/measurements" occurs twice`},
		"index twice":                 {`{"measurements":{"15":` + good + `,"15":` + good + `}}`, `"/measurements/15" occurs twice`},
		"index twice by leading zero": {`{"measurements":{"15":` + good + `,"015":` + good + `}}`, `"/measurements/015" is unknown`},
		"index 24":                    {`{"measurements":{"24":` + good + `}}`, "PCR 24 does not exist"},
		"index in words":              {`{"measurements":{"PCR15":` + good + `}}`, "holds number PCR15"},
		"value of 31 bytes":           {`{"measurements":{"15":"` + hexOf(15)[2:] + `"}}`, "want 64 hexadecimal digits"},
		"value of 48 bytes, as TDX":   {`{"measurements":{"15":"` + strings.Repeat("00", 48) + `"}}`, "want 64 hexadecimal digits"},
		"value missing":               {`{"measurements":{"15":{"warnOnly":false}}}`, `"/expected" is missing`},
		"value null":                  {`{"measurements":{"15":null}}`, `"/measurements/15" is null`},
		"warnOnly as a string":        {`{"measurements":{"15":{"expected":` + good + `,"warnOnly":"false"}}}`, `"/warnOnly" holds string, want bool`},
		"warnOnly null":               {`{"measurements":{"15":{"expected":` + good + `,"warnOnly":null}}}`, `"/measurements/15/warnOnly" is null`},
		"base64 in the current form":  {`{"measurements":{"15":` + good21 + `}}`, "want 64 hexadecimal digits"},
		"hexadecimal in 2.1":          {`{"measurements":{"15":` + good + `},"enforcedPCRs":[15]}`, "expected value of 48 bytes"},
		"object in 2.1":               {`{"measurements":{"15":{"expected":` + good + `}},"enforcedPCRs":[15]}`, "holds object, want"},
		"enforced without a value":    {`{"measurements":{"15":` + good21 + `},"enforcedPCRs":[15,12]}`, "PCR 12 is listed twice or has no expected value"},
		"enforced twice":              {`{"measurements":{"15":` + good21 + `},"enforcedPCRs":[15,15]}`, "PCR 15 is listed twice"},
		"enforced null":               {`{"measurements":{"15":` + good21 + `},"enforcedPCRs":null}`, `"/enforcedPCRs" is null`},
		"enforced as strings":         {`{"measurements":{"15":` + good21 + `},"enforcedPCRs":["15"]}`, `"/enforcedPCRs" holds string, want int`},
		"no keys are trusted":         {`{"measurements":{"15":` + good + `},"trustedAKs":[]}`, "leave it out"},
		"trusted keys null":           {`{"measurements":{"15":` + good + `},"trustedAKs":null}`, `"/trustedAKs" is null`},
		"half a fingerprint":          {`{"measurements":{"15":` + good + `},"trustedAKs":["cccc"]}`, "want 64 hexadecimal digits"},
		"text after the end":          {`{"measurements":{"15":` + good + `}} {}`, "followed by more data"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := verify.ParsePolicy([]byte(c.text))
			require.ErrorIs(t, err, verify.ErrPolicy)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestNewPolicyCopies(t *testing.T) {
	expected := []byte(strings.Clone(string(zero)))
	p := policy(t, map[int]verify.Measurement{15: {Expected: expected}})
	expected[0] = 1
	v := verify.New(p, attestation.BindHashChain, nil, nil)
	raw := marshal(t, newProver().document(t, attestation.BindHashChain, userData, nonce))
	assert.NoError(t, v.Validate(t.Context(), raw, userData, nonce))
}

func TestUnenforced(t *testing.T) {
	p := policy(t, map[int]verify.Measurement{
		4: {Expected: zero}, 15: {Expected: zero}, 16: {Expected: zero}, 9: {Expected: zero, WarnOnly: true},
	})
	assert.Equal(t, []int{0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, p.Unenforced())
}
