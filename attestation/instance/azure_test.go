package instance

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hcl is what Azure leaves in NV, of 2600 bytes as on real machines.
func hcl(kind HCLKind, runtimeData string) []byte {
	raw := make([]byte, 2600)
	copy(raw, "HCLA")
	copy(raw[reportAt:], strings.Repeat("r", reportSize[kind]))
	binary.LittleEndian.PutUint32(raw[runtimeHeadAt+8:], uint32(kind))
	binary.LittleEndian.PutUint32(raw[runtimeHeadAt+16:], uint32(len(runtimeData)))
	copy(raw[runtimeAt:], runtimeData)
	return raw
}

func TestParseHCL(t *testing.T) {
	for kind, size := range map[HCLKind]int{HCLSNP: 1184, HCLTDX: 1024} {
		found, err := ParseHCL(hcl(kind, `{"keys":[]}`), kind)
		require.NoError(t, err)
		assert.Equal(t, strings.Repeat("r", size), string(found.Report))
		assert.Equal(t, `{"keys":[]}`, string(found.RuntimeData), "and not the zeros after it")
	}
	length := func(n uint32) []byte {
		raw := hcl(HCLSNP, "{}")
		binary.LittleEndian.PutUint32(raw[runtimeHeadAt+16:], n)
		return raw
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"empty":                {nil, "HCL report of 0 bytes, want 1236 or more"},
		"cut before the data":  {hcl(HCLSNP, "{}")[:1235], "HCL report of 1235 bytes"},
		"TDX where SNP":        {hcl(HCLTDX, "{}"), "HCL report of hardware 4, want 2"},
		"no hardware":          {hcl(3, "{}"), "HCL report of hardware 3, want 2"},
		"data longer than all": {length(1365), "claims runtime data of 1365 bytes, has 1364"},
		"data of 4 GiB":        {length(1<<32 - 1), "claims runtime data of 4294967295 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseHCL(c.raw, HCLSNP)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestRuntimeKey(t *testing.T) {
	n := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff\xfe", 128))) // with - and _
	key, err := RuntimeKey([]byte(`{"keys":[{"kid":"HCLAkPub","n":"` + n + `","e":"AQAB"},{"n":"AA","e":"Aw"}],"user-data":"00"}`))
	require.NoError(t, err)
	assert.Equal(t, 65537, key.E)
	assert.Equal(t, 2048, key.N.BitLen())
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":          {"", "runtime data: unexpected end"},
		"no keys":          {`{"keys":[]}`, "runtime data: no keys"},
		"null":             {"null", "runtime data: no keys"},
		"padded base64":    {`{"keys":[{"n":"AA==","e":"AQAB"}]}`, "first key: illegal base64"},
		"exponent no text": {`{"keys":[{"n":"AA","e":65537}]}`, "runtime data: json"},
		"great exponent":   {`{"keys":[{"n":"AA","e":"AQAAAAAAAAAA"}]}`, "exponent of more than 64 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := RuntimeKey([]byte(c.text))
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func FuzzHCL(f *testing.F) {
	f.Add(hcl(HCLSNP, `{"keys":[{"n":"AA","e":"AQAB"}]}`))
	f.Add(hcl(HCLTDX, "{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for kind, size := range reportSize {
			if found, err := ParseHCL(raw, kind); err == nil {
				require.Len(t, found.Report, size)
				_, _ = RuntimeKey(found.RuntimeData)
			}
		}
	})
}
