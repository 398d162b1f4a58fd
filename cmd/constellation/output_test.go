package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode"

	"disk-mapper/internal/argument"
	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// forged is what somebody would like an operator to read.
const forged = "Pushed recovery key."

// requireWords: the screen has printable characters and newlines, not too many of
// them, and no line that somebody else has written.
func requireWords(t *testing.T, screen string) {
	t.Helper()
	require.LessOrEqual(t, len(screen), 6*maxMessage)
	for line := range strings.Lines(screen) {
		require.NotEqual(t, forged, strings.TrimSpace(line))
		line = strings.TrimPrefix(line, "\t") // before names of commands that cobra suggests
		for _, r := range strings.TrimSuffix(line, "\n") {
			require.True(t, unicode.IsPrint(r), "%q", r)
		}
	}
}

var hostileTexts = []string{
	"\x1b[2J\r\n" + forged + "\n", "\u009b2J\x7f\b\b", "\u202egnp.exe\u2028" + forged + "\u2029", "\xff\xfe", strings.Repeat("\x1b", 1<<16),
	"{\"key\\n" + forged + "\\n\": 1}", "attestation: {\"qemuVTPM\\n" + forged + "\\n\": 1}", "- \"\\u001b[2J\\n" + forged + "\\n\"",
}

// FuzzPeerWords is about what nodes and others at the endpoint say.
func FuzzPeerWords(f *testing.F) {
	for _, text := range hostileTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := caller{address: "192.0.2.1:9999", secretFile: "secret.json", pace: hurried}
		said := errors.New(text)
		errs := []error{c.explain(said, keys.DiskID{}, nil)}
		for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
			errs = append(errs, c.explain(status.Error(code, text), keys.DiskID{}, nil))
		}
		for _, fault := range []error{said, dialFault{said}, handshakeFault{said}} {
			errs = append(errs, c.explain(status.Error(codes.Unavailable, text), keys.DiskID{}, fault))
		}
		for _, err := range errs {
			var screen bytes.Buffer
			complain(&screen, err)
			requireWords(t, screen.String())
		}
	})
}

// FuzzFilesAndArguments is about what the operator was made to open, or to paste.
func FuzzFilesAndArguments(f *testing.F) {
	for _, text := range hostileTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		for _, name := range []string{"hostile", stateFile} {
			require.NoError(t, os.WriteFile(dir+"/"+name, []byte(text), 0o600))
		}
		require.NoError(t, os.WriteFile(dir+"/"+defaultMasterSecret, []byte(vectors["A"].file(t)), 0o600))
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nobody is called
		for _, args := range [][]string{
			{text}, {"recover", text}, {"recover", "--" + text}, {"recover", "-e", text}, {"recover", "--compat", text},
			{"recover", "--master-secret", text}, {"recover", "--master-secret", "hostile"}, {"mastersecret", "create", text},
			{"recover", "-e", "192.0.2.1", "--config", text}, {"recover", "-e", "192.0.2.1", "--config", "hostile"}, {"recover"},
			{"recover", "-e", "192.0.2.1", "--measurements", "hostile"}, {"recover", "-e", "192.0.2.1", "--measurements", text},
			{"recover", "-e", "192.0.2.1", "--insecure-skip-attestation", "--identity", dir + "/hostile"},
			{"recover", "-e", "192.0.2.1", "--insecure-skip-attestation", "--identity", text},
			{"-C", text, "recover"},
		} {
			if args[0] != "-C" {
				args = append([]string{"-C", dir}, args...)
			}
			var screen bytes.Buffer
			if err := execute(ctx, args, &screen, &screen, hurried); err != nil {
				complain(&screen, err)
			}
			requireWords(t, screen.String())
		}
	})
}

// TestNothingIsTakenForTheDefault: what is empty, or given twice, is refused by name.
func TestNothingIsTakenForTheDefault(t *testing.T) {
	for command, flags := range map[string][]string{
		"recover":             {"endpoint", "master-secret", "measurements", "config", "identity", "compat", "workspace"},
		"mastersecret create": {"master-secret", "workspace"},
	} {
		for _, flag := range flags {
			for name, tt := range map[string]struct {
				args []string
				want error
			}{
				"empty":   {[]string{"--" + flag, ""}, argument.ErrEmpty},
				"empty =": {[]string{"--" + flag + "="}, argument.ErrEmpty},
				"twice":   {[]string{"--" + flag, "a", "--" + flag, "b"}, argument.ErrTwice},
			} {
				t.Run(command+" "+flag+" "+name, func(t *testing.T) {
					var screen bytes.Buffer
					err := execute(t.Context(), append(strings.Fields(command), tt.args...), &screen, &screen, hurried)
					require.ErrorContains(t, err, tt.want.Error())
					assert.ErrorContains(t, err, "--"+flag+`"`)
					assert.Empty(t, screen.String())
				})
			}
		}
	}
}

func TestMeasurementsOfTwoFilesAreRefused(t *testing.T) {
	var screen bytes.Buffer
	err := execute(t.Context(), strings.Fields("recover -e 192.0.2.1 --measurements a --config b"), &screen, &screen, hurried)
	require.ErrorContains(t, err, "none of the others can be")
}

func TestExposedMasterSecretIsNamed(t *testing.T) {
	files := workspaceWith(t, map[string]string{defaultMasterSecret: vectors["A"].file(t)})
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o660: true} {
		require.NoError(t, os.Chmod(files.path(defaultMasterSecret), mode))
		screen, err := recoverIn(t, files, hurried, "-e", unusedAddress(t), "--insecure-skip-attestation")
		require.NoError(t, err)
		assert.Equal(t, want, strings.Contains(screen.notes.String(), "Warning: "+files.path(defaultMasterSecret)+" has mode 0"), "%v", mode)
	}
}

func TestExposedIdentityIsNamed(t *testing.T) {
	o := newOperator(t)
	t.Setenv("SSH_AUTH_SOCK", o.agent)
	files := workspaceWith(t, map[string]string{defaultMasterSecret: vectors["A"].file(t)})
	for name, tt := range map[string]struct {
		path string
		mode os.FileMode
		want bool
	}{
		"private":                  {o.private, 0o600, false},
		"private, for everybody":   {o.private, 0o644, true},
		"private, to be changed":   {o.private, 0o660, true},
		"encrypted, for everybody": {o.locked, 0o644, true},
		"public, for everybody":    {o.publicFile, 0o644, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Chmod(tt.path, tt.mode))
			screen, err := recoverIn(t, files, hurried, "-e", unusedAddress(t), "--insecure-skip-attestation", "--identity", tt.path)
			require.NoError(t, err)
			assert.Equal(t, tt.want, strings.Contains(screen.notes.String(), "Warning: "+tt.path+" has mode 0"), screen.notes.String())
		})
	}
}

// TestChangeableMeasurementsAreNamed: they are no secret, but who changes them
// decides who gets the key.
func TestChangeableMeasurementsAreNamed(t *testing.T) {
	files := workspaceWith(t, map[string]string{
		defaultMasterSecret: vectors["A"].file(t), defaultConfig: configOf224, "m.json": `{"measurements": {"4": "` + zeros + `", "15": "` + zeros + `"}}`,
	})
	for _, args := range [][]string{{"--measurements", "m.json"}, {"--config", defaultConfig}, nil} {
		file := defaultConfig
		if args != nil {
			file = args[1]
		}
		for mode, want := range map[os.FileMode]bool{0o600: false, 0o644: false, 0o664: true, 0o602: true} {
			require.NoError(t, os.Chmod(files.path(file), mode))
			screen, err := recoverIn(t, files, hurried, append(args, "-e", unusedAddress(t))...)
			require.NoError(t, err)
			assert.Equal(t, want, strings.Contains(screen.notes.String(), "Warning: "+files.path(file)+" has mode 0"), "%v %v", args, mode)
		}
	}
}
