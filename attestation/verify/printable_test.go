package verify_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/attestation/verify"

	"github.com/google/go-eventlog/testdata"
	"github.com/stretchr/testify/require"
)

// screen is what a terminal would act upon, as JSON has it.
const screen = `\u001b[2J\u001b[HPushed recovery key.\r\n\u202e\u009b`

// requirePrintable: a peer decides neither how much is printed nor what it does to
// a terminal.
func requirePrintable(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	require.LessOrEqual(t, len(text), 2<<10)
	for _, r := range text {
		require.True(t, unicode.IsPrint(r), "%q in %q", r, text)
	}
}

func TestWhatADocumentSaysIsBounded(t *testing.T) {
	good := string(marshal(t, newProver().document(t, attestation.BindHashChain, userData, nonce)))
	long := strings.Repeat(screen, 2000)
	for name, raw := range map[string]string{
		"key of a map":       `{"Attestation":{"ak_pub":"","quotes":[{"quote":"","raw_sig":"","pcrs":{"hash":11,"pcrs":{"` + screen + `":""}}}]},"InstanceInfo":null,"UserData":""}`,
		"long key of a map":  `{"Attestation":{"ak_pub":"","quotes":[{"quote":"","raw_sig":"","pcrs":{"hash":11,"pcrs":{"` + long + `":""}}}]},"InstanceInfo":null,"UserData":""}`,
		"unknown member":     strings.Replace(good, `"UserData"`, `"`+screen+`":1,"UserData"`, 1),
		"long member":        strings.Replace(good, `"UserData"`, `"`+long+`":1,"UserData"`, 1),
		"member twice":       strings.Replace(good, `"UserData"`, `"`+screen+`":1,"`+screen+`":1,"UserData"`, 1),
		"null member":        strings.Replace(good, `"UserData"`, `"`+screen+`":null,"UserData"`, 1),
		"nested in members":  strings.Repeat(`{"`+screen+`":`, 20) + "null" + strings.Repeat("}", 20),
		"number":             strings.Replace(good, `"hash":11`, `"hash":`+strings.Repeat("1", 9000), 1),
		"string for a bank":  strings.Replace(good, `"hash":11`, `"hash":"`+screen+`"`, 1),
		"not JSON":           screen,
		"control characters": "\x1b[2J\x00",
		"not base64":         strings.Replace(good, `"UserData":"`, `"UserData":"`+screen, 1),
	} {
		t.Run(name, func(t *testing.T) {
			err := verify.New(policy(t, honest()), attestation.BindHashChain, nil, nil).Validate(t.Context(), []byte(raw), userData, nonce)
			require.Error(t, err)
			requirePrintable(t, err)
		})
	}
}

// TestManyBanksAreBounded: each of them once, and none of SHA-256.
func TestManyBanksAreBounded(t *testing.T) {
	p := newProver()
	p.banks = nil
	d := p.document(t, attestation.BindHashChain, userData, nonce)
	for i := range 3000 {
		d.Attestation.Quotes = append(d.Attestation.Quotes, attestation.Quote{Quote: []byte{}, RawSig: []byte{}, PCRs: attestation.Bank{Hash: uint16(100 + i), PCRs: map[int][]byte{}}})
	}
	err := verify.New(policy(t, honest()), attestation.BindHashChain, nil, nil).Validate(t.Context(), marshal(t, d), userData, nonce)
	require.ErrorIs(t, err, verify.ErrQuote)
	requirePrintable(t, err)
}

func TestDifferencesAreBounded(t *testing.T) {
	all, warned := map[int]verify.Measurement{}, map[int]verify.Measurement{4: {Expected: value(4)}}
	for i := range attestation.PCRs {
		all[i] = verify.Measurement{Expected: other}
		if i != 4 {
			warned[i] = verify.Measurement{Expected: other, WarnOnly: true}
		}
	}
	raw := marshal(t, newProver().document(t, attestation.BindHashChain, userData, nonce))
	err := verify.New(policy(t, all), attestation.BindHashChain, nil, nil).Validate(t.Context(), raw, userData, nonce)
	require.ErrorIs(t, err, verify.ErrMeasurement)
	requirePrintable(t, err)
	require.ErrorContains(t, err, "; and 19 more")

	var warnings []string
	warn := func(_ context.Context, s string) { warnings = append(warnings, s) }
	require.NoError(t, verify.New(policy(t, warned), attestation.BindHashChain, nil, warn).Validate(t.Context(), raw, userData, nonce))
	require.Len(t, warnings, 1, "one sentence for one machine")
	require.LessOrEqual(t, len(warnings[0]), 2<<10)

	warnings = nil
	warned[4] = verify.Measurement{Expected: other}
	require.Error(t, verify.New(policy(t, warned), attestation.BindHashChain, nil, warn).Validate(t.Context(), raw, userData, nonce))
	require.Empty(t, warnings, "of a machine that is refused")
}

// TestInstanceInfoIsBounded: what machines say about themselves, variant by variant.
func TestInstanceInfoIsBounded(t *testing.T) {
	key := &softwareKey().PublicKey
	long := strings.Repeat("\x1b[2J\u202e", 9000)
	for variant, text := range policyOf {
		parsed, err := verify.ParsePolicy([]byte(text))
		require.NoError(t, err)
		v := verify.New(parsed, attestation.BindHashChain, &google{key: key}, nil)
		for name, info := range map[string]any{
			"names":        instance.GCE{Zone: long, Project: long, Name: long},
			"zone":         instance.GCE{Zone: long, Project: "clusters", Name: long},
			"member":       map[string]any{long: long},
			"certificates": instance.SNP{ReportSigner: []byte(long), CertChain: []byte(long), AttestationReport: []byte(long)},
			"launch":       instance.TrustedLaunch{AkCert: []byte(long), CA: []byte(long)},
			"runtime":      instance.TDX{AttestationReport: []byte(long), RuntimeData: []byte(long)},
		} {
			t.Run(string(variant)+", "+name, func(t *testing.T) {
				raw, err := json.Marshal(info)
				require.NoError(t, err)
				for _, log := range [][]byte{[]byte(long), testdata.Cos101AmdSevEventLog[:2000]} {
					err := verify.Trust(t.Context(), v, key, raw, log)
					require.Error(t, err)
					requirePrintable(t, err)
				}
			})
		}
	}
}
