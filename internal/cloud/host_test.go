package cloud

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseHost(t *testing.T) {
	label := strings.Repeat("a", 63)
	good := map[string]string{
		"10.42.0.1":                        "10.42.0.1",
		"::ffff:10.42.0.1":                 "10.42.0.1",
		"2001:DB8:0::1":                    "2001:db8::1",
		"lb.example.org":                   "lb.example.org",
		"lb-1.eu-west-1.elb.amazonaws.com": "lb-1.eu-west-1.elb.amazonaws.com",
		"node":                             "node",
		label + ".org":                     label + ".org",
	}
	for in, want := range good {
		t.Run(in, func(t *testing.T) {
			got, err := parseHost(in)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
	bad := map[string]string{
		"empty":                  "",
		"unspecified":            "0.0.0.0",
		"unspecified IPv6":       "::",
		"loopback":               "127.0.0.1",
		"loopback IPv6":          "::1",
		"mapped loopback":        "::ffff:127.0.0.1",
		"localhost":              "LocalHost.",
		"metadata service":       "169.254.169.254",
		"link-local IPv6":        "fe80::1",
		"zone":                   "fe80::1%eth0",
		"zone on global":         "2001:db8::1%eth0",
		"multicast":              "224.0.0.1",
		"broadcast":              "255.255.255.255",
		"port":                   "10.42.0.1:30090",
		"name with port":         "lb.example.org:30090",
		"brackets":               "[2001:db8::1]",
		"short IPv4":             "127.1",
		"hexadecimal IPv4":       "0x7f000001",
		"decimal IPv4":           "2130706433",
		"leading zero":           "010.1.1.1",
		"newline":                "lb.example.org\n",
		"space":                  "lb example",
		"scheme":                 "dns:///lb.example.org",
		"path":                   "lb.example.org/x",
		"unix socket":            "unix:/run/x",
		"underscore":             "a_b.example.org",
		"empty label":            "a..b",
		"label of 64 characters": label + "a.org",
		"longer than a name":     strings.Repeat("a.", 127) + "org",
		"not ASCII":              "bücher.example",
	}
	for name, in := range bad {
		t.Run(name, func(t *testing.T) {
			_, err := parseHost(in)
			require.ErrorIs(t, err, ErrHost)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestParseAddressTakesNoNames(t *testing.T) {
	_, err := parseAddress("lb.example.org")
	require.ErrorIs(t, err, ErrHost)
}
