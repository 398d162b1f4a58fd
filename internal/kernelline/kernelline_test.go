package kernelline

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		line   string
		option string
		want   []string
	}{
		"nothing":                    {"ro quiet console=ttyS0,115200 root=/dev/sda\n", StateDisk, nil},
		"one":                        {"constel.state-disk=require-blank", StateDisk, []string{"require-blank"}},
		"a list":                     {"constel.state-disk=full-wipe,require-blank", StateDisk, []string{"full-wipe", "require-blank"}},
		"two words add up":           {"constel.state-disk=require-blank ro constel.state-disk=full-wipe", StateDisk, []string{"require-blank", "full-wipe"}},
		"underscore":                 {"constel.state_disk=require-blank", StateDisk, []string{"require-blank"}},
		"underscores, mixed":         {"constel.recovery_authorized-key=a constel.recovery-authorized_key=b", AuthorizedKey, []string{"a", "b"}},
		"underscores stay in values": {"constel.csp=a_b", Platform, []string{"a_b"}},
		"quotes around the value":    {`constel.state-disk="require-blank,full-wipe"`, StateDisk, []string{"require-blank", "full-wipe"}},
		"quotes around the word":     {`"constel.state-disk=require-blank" ro`, StateDisk, []string{"require-blank"}},
		"quotes around a part":       {`constel.state-disk=full-wipe,"require-blank"`, StateDisk, []string{"full-wipe", "require-blank"}},
		"quotes of others":           {`dyndbg="file dm.c +p" constel.csp=qemu`, Platform, []string{"qemu"}},
		"tabs":                       {"ro\tconstel.csp=qemu\tquiet", Platform, []string{"qemu"}},
		"behind --":                  {"ro -- constel.state-disk=require-blank", StateDisk, []string{"require-blank"}},
		"the same twice":             {"constel.csp=qemu constel.csp=qemu", Platform, []string{"qemu"}},
		"an equals sign in a value":  {"constel.recovery-authorized-key=ssh-ed25519:AA==", AuthorizedKey, []string{"ssh-ed25519:AA=="}},
		"switches of v2.24's image":  {"constel.debug constel.console constel.csp=gcp", Platform, []string{"gcp"}},
		"and with values":            {"constel.debug=1 constel.csp=gcp", Platform, []string{"gcp"}},
		"words like ours":            {"console=tty1 consoleblank=0 csp=1 compat=2 debug rd.shell=0 systemd.unit=x.target cluster=1 disk=2", Platform, nil},
		"what v2.24's image has": {"mitigations=auto,nosmt preempt=full rd.shell=0 rd.emergency=reboot loglevel=8 selinux=1 enforcing=0 audit=0 console=tty1 console=ttyS0 " +
			"mem_encrypt=on kvm_amd.sev=1 module_blacklist=qemu_fw_cfg constel.csp=openstack constel.attestation-variant=qemu-vtpm", Platform, []string{"openstack"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Parse(tc.line)
			require.NoError(t, err)
			assert.Equal(t, tc.want, l.List(tc.option))
		})
	}
}

// TestNoWordGetsLost: each of these was ignored once, or would be, and leaves a node
// less careful than it was meant to be.
func TestNoWordGetsLost(t *testing.T) {
	for name, tc := range map[string]struct{ line, wantErr string }{
		"plural":                           {"constel.recovery-authorized-keys=a", `unknown option "constel.recovery-authorized-keys" on the kernel command line: did you mean constel.recovery-authorized-key? known are constel.attestation-variant, `},
		"British":                          {"constel.recovery-authorised-key=a", "did you mean constel.recovery-authorized-key?"},
		"a letter left out":                {"constel.stat-disk=require-blank", "did you mean constel.state-disk?"},
		"letters swapped":                  {"constel.sate-tdisk=require-blank", "did you mean constel.state-disk?"},
		"no hyphen":                        {"constel.statedisk=require-blank", "did you mean constel.state-disk?"},
		"a dot for a hyphen":               {"constel.state.disk=require-blank", "did you mean constel.state-disk?"},
		"something else":                   {"constel.nonsense", `unknown option "constel.nonsense"`},
		"no name":                          {"constel.=x", `unknown option "constel."`},
		"capitals":                         {"Constel.State-Disk=require-blank", "did you mean constel.state-disk?"},
		"all capitals":                     {"CONSTEL.CSP=qemu", "did you mean constel.csp?"},
		"prefix misspelt":                  {"constell.csp=qemu", "did you mean constel.csp?"},
		"prefix cut":                       {"conste.recovery-authorized-key=a", "did you mean constel.recovery-authorized-key?"},
		"prefix swapped":                   {"contsel.recovery-authorized-keys=a", "did you mean constel.recovery-authorized-key?"},
		"prefix in full":                   {"constellation.state-disk=require-blank", "did you mean constel.state-disk?"},
		"prefix with a hyphen":             {"constel-state-disk=require-blank", "did you mean constel.state-disk?"},
		"prefix with a colon":              {"constel:csp=qemu", "did you mean constel.csp?"},
		"prefix forgotten":                 {"recovery_authorized_key=a", "did you mean constel.recovery-authorized-key?"},
		"systemd's prefix":                 {"rd.constel.state-disk=require-blank", "did you mean constel.state-disk?"},
		"like a flag":                      {"--constel.state-disk=require-blank", "did you mean constel.state-disk?"},
		"another alphabet":                 {"\u0441onstel.csp=qemu", `unknown option "сonstel.csp"`},
		"a space of Unicode":               {"ro\u00a0constel.state-disk=require-blank", `unknown option "ro\u00a0constel.state-disk"`},
		"glued to another word":            {"ro,constel.state-disk=require-blank", "did you mean constel.state-disk?"},
		"without a value":                  {"constel.state-disk", "constel.state-disk on the kernel command line has no value: want constel.state-disk=VALUE"},
		"empty":                            {"constel.recovery-authorized-key=", "constel.recovery-authorized-key= on the kernel command line has no value"},
		"empty, underscore":                {"constel.recovery_authorized_key= ro", "want constel.recovery-authorized-key=VALUE"},
		"empty in quotes":                  {`constel.csp=""`, "constel.csp= on the kernel command line has no value"},
		"spaces around =":                  {"constel.csp = qemu", "constel.csp on the kernel command line has no value"},
		"a comma too many":                 {"constel.state-disk=full-wipe,", "constel.state-disk=full-wipe, on the kernel command line has an empty value"},
		"two commas":                       {"constel.state-disk=full-wipe,,require-blank", "has an empty value"},
		"space before a comma":             {"constel.state-disk=full-wipe ,require-blank", `",require-blank" on the kernel command line stands after a space`},
		"space after a comma":              {"constel.state-disk=full-wipe, require-blank", "has an empty value"},
		"two platforms":                    {"constel.csp=qemu ro constel.csp=azure", "two values on the kernel command line: constel.csp=qemu and constel.csp=azure, want one"},
		"two profiles":                     {"constel.compat=2.24 constel.compat=2.1", "constel.compat=2.24 and constel.compat=2.1"},
		"two variants, one by _":           {"constel.attestation_variant=a constel.attestation-variant=b", "constel.attestation-variant=a and constel.attestation-variant=b"},
		"two cluster IDs":                  {"constel.cluster-id=aa constel.cluster-id=bb", "constel.cluster-id=aa and constel.cluster-id=bb"},
		"two values behind --":             {"constel.csp=qemu -- constel.csp=azure", "constel.csp=qemu and constel.csp=azure"},
		"a quote left open":                {`ro foo="bar constel.state-disk=require-blank`, "has a double quote without its counterpart"},
		"a quote left open, ours":          {`constel.state-disk="require-blank`, "has a double quote without its counterpart"},
		"in others' quotes":                {`foo="bar constel.state-disk=require-blank"`, `has "constel.state-disk" inside of "foo=bar constel.state-disk=require-blank"`},
		"two in quotes":                    {`"constel.csp=qemu constel.state_disk=require-blank"`, `has "constel.state-disk" inside of "constel.csp=qemu constel.state_disk=require-blank"`},
		"in others' quotes, capitals":      {`foo="a CONSTEL.cluster-id=00"`, `has "constel.cluster-id" inside of`},
		"in others' quotes, in full":       {`foo="a constellation.state-disk=x"`, `has "constellation.state-disk" inside of`},
		"in others' quotes, misspelt":      {`foo="a constel.state-dsk=x"`, `has "constel.state-dsk" inside of`},
		"alone in others' quotes":          {`rd.x="constel.cluster-id=00"`, `has "constel.cluster-id" inside of`},
		"behind a comma in a value":        {"console=ttyS0,constel.cluster-id=00", `has "constel.cluster-id" inside of "console=ttyS0,constel.cluster-id=00"`},
		"behind a semicolon":               {"console=ttyS0;constel.recovery_authorized_key=a", `has "constel.recovery-authorized-key" inside of`},
		"behind a space of Unicode":        {"console=ttyS0\u00a0constel.state-disk=require-blank", `has "constel.state-disk" inside of`},
		"behind a line of Unicode":         {"root=/dev/vda\u2028constel.cluster-id=00", `has "constel.cluster-id" inside of`},
		"in a switch of v2.24":             {"constel.debug=constel.state-disk=require-blank", `has "constel.state-disk" inside of`},
		"in a list of v2.24":               {"constel.console=tty,constel.state-disk=require-blank", `has "constel.state-disk" inside of`},
		"in one of ours":                   {`constel.csp="qemu constel.state-disk=require-blank"`, `has "constel.state-disk" inside of`},
		"in one of ours, comma":            {"constel.state-disk=full-wipe,constel.csp=qemu", `has "constel.csp" inside of`},
		"prefix in full, misspelt":         {"constelation.state-disk=require-blank", "did you mean constel.state-disk?"},
		"prefix forgotten, plural":         {"recovery_authorized_keys=a", "did you mean constel.recovery-authorized-key?"},
		"prefix alone":                     {"constel=cluster-id=00", `unknown option "constel"`},
		"a space behind the prefix":        {"constel .state-disk=require-blank", `unknown option "constel"`},
		"many letters of another alphabet": {"\u0441\u043enst\u0435l.state-disk=require-blank", "did you mean constel.state-disk?"},
		"wide letters":                     {"\uff43\uff4f\uff4e\uff53\uff54\uff45\uff4c\uff0estate-disk=require-blank", "did you mean constel.state-disk?"},
		"cut off":                          {strings.Repeat("x", maxLine) + "\n", "has 2047 bytes, the most that the kernel keeps"},
		"a terminal's escape":              {"constel.\x1b[2J=x", `unknown option "constel.\x1b[2J"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tc.line)
			require.ErrorContains(t, err, tc.wantErr)
		})
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"csp", "csp", 0}, {"scp", "csp", 1}, {"cps", "csp", 1}, {"csb", "csp", 1}, {"kitten", "sitting", 3}} {
		assert.Equal(t, tc.want, distance(tc.a, tc.b), "%q, %q", tc.a, tc.b)
	}
	assert.Less(t, maxDistance, distance(strings.Repeat("x", 1<<20), StateDisk))
}

// FuzzParse: a word that is there is never lost, whatever stands around it.
func FuzzParse(f *testing.F) {
	for _, line := range []string{"", "ro quiet", "constel.csp=qemu", `a="b c" -- d`, `"`, "constel.state-disk=full-wipe,", "constel.state_disk=x\t,y", "\u00a0", "="} {
		f.Add(line, line)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		l, err := Parse(before + " constel.state-disk=require-blank " + after)
		if err == nil {
			require.Contains(t, l.List(StateDisk), "require-blank")
		}
		one, err := Parse(before)
		if err != nil {
			return
		}
		both, err := Parse(before + " " + after)
		if err != nil {
			return
		}
		for name := range one.values {
			for _, value := range one.values[name] {
				require.Contains(t, both.values[name], value, name)
			}
		}
	})
}
