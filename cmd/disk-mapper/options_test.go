package main

import (
	"bytes"
	"flag"
	"io"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/disk"
	"disk-mapper/internal/kernelline"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestParseOptions(t *testing.T) {
	for name, tc := range map[string]struct {
		args    []string
		env     map[string]string
		kernel  string
		want    func(*testing.T, options)
		wantErr string
	}{
		"all from the kernel command line": {
			kernel: "ro console=ttyS0 constel.csp=qemu constel.attestation-variant=qemu-vtpm constel.compat=2.1\n",
			want: func(t *testing.T, o options) {
				assert.Equal(t, "qemu", o.platform.name)
				assert.Equal(t, attestation.Profile21, o.profile)
				assert.Equal(t, "/dev/vda", o.platform.stateDisk[o.profile.Name])
			},
		},
		"flags beside the same on the line": {
			args: []string{"-csp", "QEMU", "-compat", "2.24", "-v", "-1"}, kernel: "constel.csp=qemu constel.compat=2.24",
			want: func(t *testing.T, o options) {
				assert.Equal(t, attestation.Profile224, o.profile)
				assert.Equal(t, "/dev/vdb", o.platform.stateDisk[o.profile.Name])
				assert.Equal(t, -1, o.verbosity)
			},
		},
		"defaults": {
			args: []string{"-csp=qemu"},
			want: func(t *testing.T, o options) {
				assert.Equal(t, attestation.QEMUVTPM, o.variant)
				assert.Equal(t, attestation.Profile224, o.profile)
			},
		},
		"enroll": {
			args: []string{"enroll", "-csp=qemu"},
			want: func(t *testing.T, o options) { assert.True(t, o.enroll) },
		},
		"only blank disks": {
			args: []string{"-csp=qemu"}, kernel: "constel.state-disk=require-blank",
			want: func(t *testing.T, o options) {
				assert.True(t, o.requireBlank)
				assert.Equal(t, disk.FirstRegion, o.extent)
			},
		},
		"full wipe": {
			args: []string{"-csp=qemu"}, kernel: "constel.state-disk=full-wipe",
			want: func(t *testing.T, o options) {
				assert.False(t, o.requireBlank)
				assert.Equal(t, disk.Whole, o.extent)
			},
		},
		"both, in two words": {
			args: []string{"-csp=qemu"}, kernel: "constel.state-disk=require-blank constel.state_disk=full-wipe",
			want: func(t *testing.T, o options) {
				assert.True(t, o.requireBlank)
				assert.Equal(t, disk.Whole, o.extent)
			},
		},
		"dirty disks": {
			args: []string{"-csp=qemu"}, kernel: "constel.state-disk=format-nonzero",
			want: func(t *testing.T, o options) {
				assert.True(t, o.formatNonzero)
				assert.Equal(t, disk.FirstRegion, o.extent)
			},
		},
		"operators, in one word and in two": {
			args: []string{"-csp=qemu"}, kernel: "constel.recovery-authorized-key=" + ed25519Key + "," + ed25519Key + " x constel.recovery-authorized-key=" + ed25519Key,
			want: func(t *testing.T, o options) { assert.False(t, o.operators.Empty()) },
		},
		"no operators":                 {args: []string{"-csp=qemu"}, want: func(t *testing.T, o options) { assert.True(t, o.operators.Empty()) }},
		"operator unnamed":             {args: []string{"-csp=qemu"}, kernel: "constel.recovery-authorized-key=", wantErr: "constel.recovery-authorized-key= on the kernel command line has no value"},
		"operators misspelt":           {args: []string{"-csp=qemu"}, kernel: "constel.recovery-authorized-keys=" + ed25519Key, wantErr: "did you mean constel.recovery-authorized-key?"},
		"the flag against the line":    {args: []string{"-csp=qemu"}, kernel: "constel.csp=azure", wantErr: `flag -csp says "qemu", and constel.csp= on the kernel command line says "azure": want the same, or one of them`},
		"the profile against the line": {args: []string{"-csp=qemu", "-compat=2.1"}, kernel: "constel.compat=2.24", wantErr: `flag -compat says "2.1"`},
		"the environment against the line": {args: []string{"-csp=qemu"}, env: map[string]string{"CONSTEL_ATTESTATION_VARIANT": "aws-nitro-tpm"}, kernel: "constel.attestation-variant=qemu-vtpm",
			wantErr: `environment variable CONSTEL_ATTESTATION_VARIANT says "aws-nitro-tpm", and constel.attestation-variant= on the kernel command line says "qemu-vtpm"`},
		"enroll reads the line too": {args: []string{"enroll", "-csp=qemu"}, kernel: "constel.clusterid=00", wantErr: "did you mean constel.cluster-id?"},
		"cluster": {
			args: []string{"enroll", "-csp=qemu"}, kernel: "constel.cluster_id=" + strings.Repeat("aB", 32),
			want: func(t *testing.T, o options) { assert.Equal(t, bytes.Repeat([]byte{0xab}, 32), o.cluster.Bytes()) },
		},
		"no cluster":        {args: []string{"-csp=qemu"}, want: func(t *testing.T, o options) { assert.Nil(t, o.cluster.Bytes()) }},
		"cluster too short": {args: []string{"-csp=qemu"}, kernel: "constel.cluster-id=abcd", wantErr: "constel.cluster-id=abcd on the kernel command line: wrong length: cluster ID has 4 characters, want 64 hexadecimal digits"},
		"cluster in base64": {args: []string{"-csp=qemu"}, kernel: "constel.cluster-id=" + strings.Repeat("xy", 32), wantErr: "want 64 hexadecimal digits"},
		"operator misspelt, a good one last": {args: []string{"-csp=qemu"}, kernel: "constel.recovery-authorized-key=ssh-ed25519:AAAA constel.recovery-authorized-key=" + ed25519Key,
			wantErr: `SSH public key "ssh-ed25519:AAAA"`},
		"JoinServices": {
			args: []string{"-csp=qemu"}, kernel: "constel.join-endpoints=10.0.0.1,lb.example.org:443",
			want: func(t *testing.T, o options) {
				endpoints, err := o.endpoints(nil)[0].JoinEndpoints(t.Context())
				require.NoError(t, err)
				assert.Equal(t, []string{"10.0.0.1:30090", "lb.example.org:443"}, endpoints)
				assert.Len(t, o.endpoints(nil), 3)
			},
		},
		"bad JoinService":     {args: []string{"-csp=qemu"}, kernel: "constel.join-endpoints=10.0.0.1,10.0.0.2:x", wantErr: `constel.join-endpoints= on the kernel command line, want HOST[:PORT],...: "10.0.0.2:x"`},
		"unknown state-disk":  {args: []string{"-csp=qemu"}, kernel: "constel.state-disk=blank", wantErr: `unknown constel.state-disk="blank"`},
		"blank and dirty":     {args: []string{"-csp=qemu"}, kernel: "constel.state-disk=format-nonzero,require-blank", wantErr: "require-blank and format-nonzero contradict each other"},
		"one of two unknown":  {args: []string{"-csp=qemu"}, kernel: "constel.state-disk=full-wipe,requireblank", wantErr: `unknown constel.state-disk="requireblank"`},
		"unknown csp":         {args: []string{"-csp=nimbus"}, wantErr: `unknown cloud platform "nimbus", want one of: qemu`},
		"no csp":              {wantErr: `unknown cloud platform "", want one of: qemu`},
		"unknown variant":     {args: []string{"-csp=qemu"}, env: map[string]string{"CONSTEL_ATTESTATION_VARIANT": "dummy"}, wantErr: `unknown attestation variant "dummy", want one of: qemu-vtpm`},
		"variant without 2.1": {args: []string{"-csp=qemu", "-compat=2.1"}, kernel: "constel.attestation-variant=gcp-sev-snp", wantErr: `attestation variant "gcp-sev-snp" does not exist in profile 2.1`},
		"variant by case":     {args: []string{"-csp=qemu"}, kernel: "constel.attestation-variant=QEMU-VTPM", wantErr: "unknown attestation variant"},
		"unknown profile":     {args: []string{"-csp=qemu", "-compat=3"}, wantErr: `unknown compatibility profile "3", want one of: 2.24, 2.1`},
		"unknown flag":        {args: []string{"-nope"}, wantErr: "flag provided but not defined"},
		"unknown argument":    {args: []string{"-csp=qemu", "format"}, wantErr: `unexpected argument "format"`},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			o, err := parseOptions(tc.args, env(tc.env), tc.kernel, &out)
			assert.Empty(t, out.String(), "a console gets JSON lines only")
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			tc.want(t, o)
		})
	}
}

// ed25519Key is the public key of RFC 8032's first test vector.
const ed25519Key = "ssh-ed25519:AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"

// FuzzKernelLine: whatever is on the kernel command line, a word that names an
// operator never ends as a node without operators.
func FuzzKernelLine(f *testing.F) {
	for _, line := range []string{"", "ro quiet constel.csp=qemu", kernelline.AuthorizedKey + "=" + ed25519Key, kernelline.AuthorizedKey + "=,", "constel.state-disk=require-blank constel.compat=2.1"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parseOptions(nil, env(nil), line, io.Discard)
		for word := range strings.FieldsSeq(line) {
			if strings.HasPrefix(word, kernelline.AuthorizedKey+"=") && err == nil {
				require.False(t, o.operators.Empty())
			}
		}
	})
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var out bytes.Buffer
	_, err := parseOptions([]string{"--help"}, env(nil), "", &out)
	require.ErrorIs(t, err, flag.ErrHelp)
	for _, word := range []string{"-csp", "-v", "-compat", "enroll", "grow", "status", "inspect", "header", "wipe", "constel.state-disk=", "require-blank", "format-nonzero", "full-wipe", "constel.csp=", "constel.cluster-id=", kernelline.AuthorizedKey + "=", "CONSTEL_ATTESTATION_VARIANT", "qemu", "2.24"} {
		assert.Contains(t, out.String(), word)
	}
}

func TestRunFailsOnAnUnknownPlatform(t *testing.T) {
	var stdout, out bytes.Buffer
	assert.Equal(t, 1, run(t.Context(), []string{"-csp=nimbus"}, env(nil), &stdout, &out))
	assert.Contains(t, out.String(), `"level":"ERROR"`)
	assert.Contains(t, out.String(), "want one of: qemu")
	assert.Equal(t, 0, run(t.Context(), []string{"-help"}, env(nil), &stdout, &out))
	assert.Empty(t, stdout.String())
}
