package recoveryserver

import (
	"strings"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Vector C shows the alphabet of base64url.
var vectorCURI = "kms://cluster-kms?key=" + strings.Repeat("_", 42) + "8=&salt=" + strings.Repeat("_", 42) + "8="

func TestParseKMSURI(t *testing.T) {
	tests := map[string]struct{ uri, disk, wantKey, wantSecret string }{
		"vector A": {vectorURI, vectorUUID,
			"60616af9434ebe99856112123b7c70a53d338e0afcb4bb6dd939b63e2749eb6c",
			"ea7fedd14f5a29b1b8545592fc20bfdae06918e4ff447b1a0b8e4f3356005bda"},
		"vector C": {vectorCURI, "ffffffff-ffff-ffff-ffff-ffffffffffff",
			"1484aa39d3415e906e07940ff215d8b1eee705d3027dba93306af4abff4f70be",
			"150b56a6b689a0b11c8b03e4bf069adc32983b7e09e337eb4424036c54b05323"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			master, err := parseKMSURI(tc.uri)
			require.NoError(t, err)
			disk, err := keys.ParseDiskID(tc.disk)
			require.NoError(t, err)
			pair, err := master.Pair(disk)
			require.NoError(t, err)
			assert.Equal(t, unhex(tc.wantKey), pair.Disk.Bytes())
			assert.Equal(t, unhex(tc.wantSecret), pair.Measurement.Bytes())
		})
	}
}

func TestParseKMSURIRefuses(t *testing.T) {
	const key, salt = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
	query := "?key=" + key + "&salt=" + salt
	tests := map[string]struct{ uri, wantErr string }{
		"empty":               {"", "only kms://cluster-kms"},
		"not a URI":           {"kms://cluster-kms\x7f" + query, "malformed URI"},
		"other service":       {"kms://gcp" + query, "only kms://cluster-kms"},
		"other scheme":        {"http://cluster-kms" + query, "only kms://cluster-kms"},
		"path":                {"kms://cluster-kms/x" + query, "only kms://cluster-kms"},
		"port":                {"kms://cluster-kms:9000" + query, "only kms://cluster-kms"},
		"user":                {"kms://user@cluster-kms" + query, "only kms://cluster-kms"},
		"fragment":            {"kms://cluster-kms" + query + "#x", "only kms://cluster-kms"},
		"no query":            {"kms://cluster-kms", `missing query parameter "key"`},
		"empty key":           {"kms://cluster-kms?key=&salt=" + salt, `missing query parameter "key"`},
		"no salt":             {"kms://cluster-kms?key=" + key, `missing query parameter "salt"`},
		"key twice":           {"kms://cluster-kms" + query + "&key=" + key, `malformed query parameter "key"`},
		"unknown parameter":   {"kms://cluster-kms" + query + "&x=y", "unknown query parameter"},
		"semicolons":          {"kms://cluster-kms?key=" + key + ";salt=" + salt, "malformed query"},
		"escape, second time": {"kms://cluster-kms?key=%25zz&salt=" + salt, `malformed query parameter "key"`},
		"not base64url":       {"kms://cluster-kms?key=****&salt=" + salt, `"key" is not base64url`},
		"no padding":          {"kms://cluster-kms?key=" + strings.TrimRight(key, "=") + "&salt=" + salt, `"key" is not base64url`},
		"short key":           {"kms://cluster-kms?key=AAEC&salt=" + salt, "master key: wrong length"},
		"short salt":          {"kms://cluster-kms?key=" + key + "&salt=AAEC", "master salt: wrong length"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseKMSURI(tc.uri)
			require.ErrorContains(t, err, tc.wantErr)
			assert.NotContains(t, err.Error(), key[:8])
			assert.NotContains(t, err.Error(), salt[:8])
		})
	}
}

func FuzzParseKMSURI(f *testing.F) {
	f.Add(vectorURI)
	f.Add(vectorCURI)
	f.Add("kms://cluster-kms?key=%2541%3D&salt=")
	f.Fuzz(func(t *testing.T, uri string) {
		master, err := parseKMSURI(uri)
		if err != nil {
			return
		}
		disk, err := keys.ParseDiskID(vectorUUID)
		require.NoError(t, err)
		_, err = master.Pair(disk)
		require.NoError(t, err)
	})
}
