package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode"

	"disk-mapper/internal/argument"
	"disk-mapper/internal/logging"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		environ []string
		want    string
	}{
		"nothing":          {nil, ""},
		"others":           {[]string{"PATH=/bin", "CONSTELLATION_DEBUG=", "NOTIFY_SOCKET=/run/x", "=C:=x", "noequals"}, ""},
		"good":             {[]string{"CONSTEL_ATTESTATION_VARIANT=qemu-vtpm", "CONSTEL_CSP=qemu"}, ""},
		"empty":            {[]string{"CONSTEL_ATTESTATION_VARIANT="}, "environment variable CONSTEL_ATTESTATION_VARIANT is empty"},
		"without =":        {[]string{"CONSTEL_ATTESTATION_VARIANT"}, "environment variable CONSTEL_ATTESTATION_VARIANT is empty"},
		"platform empty":   {[]string{"CONSTEL_CSP="}, "environment variable CONSTEL_CSP is empty"},
		"misspelt":         {[]string{"CONSTEL_ATTESTATION_VARIANTS=qemu-vtpm"}, `unknown environment variable "CONSTEL_ATTESTATION_VARIANTS", want one of: CONSTEL_ATTESTATION_VARIANT, CONSTEL_CSP`},
		"lower case":       {[]string{"constel_attestation_variant=qemu-vtpm"}, "unknown environment variable"},
		"of no option":     {[]string{"CONSTEL_COMPAT=2.1"}, `unknown environment variable "CONSTEL_COMPAT"`},
		"twice":            {[]string{"CONSTEL_CSP=a", "CONSTEL_CSP=b"}, "CONSTEL_CSP is there twice"},
		"hostile":          {[]string{"CONSTEL_\x1b[2J=1"}, `"CONSTEL_\x1b[2J"`},
		"one of two":       {[]string{"CONSTEL_CSP=qemu", "CONSTEL_STATE_DISK=require-blank"}, `"CONSTEL_STATE_DISK"`},
		"many are bounded": {strings.Split(strings.Repeat("CONSTEL_X=1,", 1000), ","), "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkEnvironment(tt.environ)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			assert.Less(t, len(err.Error()), 4000)
		})
	}
}

func TestEnvironmentIsRefused(t *testing.T) {
	for _, variable := range []string{"CONSTEL_ATTESTATION_VARIENT", "CONSTEL_COMPAT"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, "x")
			var out bytes.Buffer
			assert.Equal(t, 1, run(t.Context(), []string{"-csp=qemu", "-v=1"}, env(nil), &out, &out))
			assert.Contains(t, out.String(), variable)
		})
	}
}

// TestNothingIsTakenForTheDefault: what is empty, or given twice, is refused by name.
func TestNothingIsTakenForTheDefault(t *testing.T) {
	for _, flag := range []string{"csp", "compat"} {
		for name, tt := range map[string]struct {
			args []string
			want error
		}{
			"empty":   {[]string{"-" + flag, ""}, argument.ErrEmpty},
			"empty =": {[]string{"-" + flag + "="}, argument.ErrEmpty},
			"twice":   {[]string{"-" + flag, "qemu", "-" + flag, "gcp"}, argument.ErrTwice},
		} {
			for _, command := range [][]string{nil, {"enroll"}} {
				t.Run(flag+" "+name+strings.Join(command, " "), func(t *testing.T) {
					var out bytes.Buffer
					_, err := parseOptions(append(command, tt.args...), env(nil), "constel.csp=qemu", &out)
					require.ErrorContains(t, err, "flag -"+flag+": "+tt.want.Error())
					assert.Empty(t, out.String())
				})
			}
		}
	}
}

// FuzzWords: whatever is on the command lines and in the environment, a console gets
// words, one line each.
func FuzzWords(f *testing.F) {
	for _, seed := range []string{"-\x1b[2J", "\x1b]0;x\a", "-compat\n\u202e", "-csp\n\u009b2J", "inspect\n-\xff", "inspect\n/\u2028", "status\n-\x1b[2J\r", "grow\n-v\n\x1b", "inspect\na\nb\x1b", "CONSTEL_\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var screen bytes.Buffer
		log := logging.New(&screen, 0)
		args := strings.Split(text, "\n")
		if args[0] == "inspect" || args[0] == "status" { // nothing else may run on the machine of a test
			run(t.Context(), args, func(string) string { return text }, &screen, &screen)
		}
		_, err := parseOptions(args, env(nil), "", io.Discard)
		log.Error("Invalid options", zap.Error(err))
		_, err = parseOptions(nil, func(string) string { return text }, text, &screen)
		log.Error("Invalid options", zap.Error(err))
		log.Error("Invalid options", zap.Error(checkEnvironment([]string{"CONSTEL_" + text})))
		for line := range strings.Lines(screen.String()) {
			require.LessOrEqual(t, len(line), logging.MaxLine+1)
			for _, r := range strings.TrimSuffix(line, "\n") {
				require.True(t, r == '\t' || unicode.IsPrint(r), "%q", r)
			}
		}
	})
}
