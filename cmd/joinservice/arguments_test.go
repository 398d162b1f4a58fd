package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"disk-mapper/internal/argument"
	"disk-mapper/internal/logging"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// changed is good with another value for one of its flags.
func changed(dir, flag, value string) []string {
	args := good(dir)
	args[slices.Index(args, flag)+1] = value
	return args
}

// TestNothingIsTakenForTheDefault: what is empty or given twice is refused by name,
// before anything is read or served.
func TestNothingIsTakenForTheDefault(t *testing.T) {
	for _, flag := range []string{"listen", "master-secret", "measurement-salt", "policy", "compat"} {
		for name, tt := range map[string]struct {
			args []string
			want error
		}{
			"empty":   {[]string{"--" + flag, ""}, argument.ErrEmpty},
			"empty =": {[]string{"--" + flag + "="}, argument.ErrEmpty},
			"twice":   {[]string{"--" + flag, "a", "--" + flag, "b"}, argument.ErrTwice},
		} {
			t.Run(flag+" "+name, func(t *testing.T) {
				screen := newTerminal()
				require.ErrorIs(t, run(t.Context(), tt.args, screen), errUsage)
				assert.Contains(t, screen.String(), "flag -"+flag+": "+tt.want.Error())
			})
		}
	}
}

// TestEmptyFiles: a file that is there and says nothing is no policy, no salt and no
// secret.
func TestEmptyFiles(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "blank": " \n", "null": "null", "object": "{}", "list": "[]", "no measurements": `{"measurements": {}}`} {
		for _, flag := range []string{"--policy", "--measurement-salt", "--master-secret"} {
			t.Run(name+" "+flag, func(t *testing.T) {
				dir := files(t)
				path := filepath.Join(dir, "file")
				require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
				assert.ErrorContains(t, run(t.Context(), changed(dir, flag, path), newTerminal()), path)
			})
		}
	}
}

func TestExposedFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		mode           os.FileMode
		secret, policy bool // is warned of
	}{
		"private":              {0o600, false, false},
		"read only":            {0o400, false, false},
		"for a group":          {0o640, false, false},
		"for everybody":        {0o644, true, false},
		"to be changed":        {0o660, true, true},
		"to be changed by all": {0o602, true, true},
		"to be searched":       {0o601, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret.json")
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			require.NoError(t, os.Chmod(path, tt.mode))
			var console bytes.Buffer
			log := logging.New(&console, 0)
			warnOfExposed(options{masterSecret: path, policy: t.TempDir() + "/nowhere"}, log)
			assert.Equal(t, tt.secret, strings.Contains(console.String(), `"msg":"The master secret is exposed"`) && strings.Contains(console.String(), path))
			assert.Equal(t, tt.secret, console.Len() > 0)
			private := filepath.Join(t.TempDir(), "private")
			require.NoError(t, os.WriteFile(private, nil, 0o600))
			console.Reset()
			warnOfExposed(options{masterSecret: private, policy: path}, log)
			assert.Equal(t, tt.policy, strings.Contains(console.String(), `"msg":"Others can change the attestation policy"`) && strings.Contains(console.String(), path))
			assert.Equal(t, tt.policy, console.Len() > 0)
		})
	}
	dir := files(t)
	require.NoError(t, os.Chmod(filepath.Join(dir, "secret.json"), 0o644))
	screen := newTerminal()
	assert.Error(t, run(t.Context(), changed(dir, "--policy", dir+"/nowhere"), screen))
	assert.Contains(t, screen.String(), "The master secret is exposed")
}

// FuzzArguments: whatever the command line holds, the terminal gets words.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{"--\x1b[2J", "\x1b]0;x\a", "--compat\n\u202e", "--listen\n\u009b2J", "--v\n\xff", "--policy\n/nowhere\n--measurement-salt\n/\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var screen bytes.Buffer
		args := append(strings.Split(line, "\n"), "--master-secret", "/nowhere/"+line)
		err := run(t.Context(), args, &screen)
		if !errors.Is(err, errUsage) && err != nil {
			logging.New(&screen, 0).Error("JoinService failed", zap.Error(err))
		}
		require.Less(t, screen.Len(), 16<<10)
		for _, r := range screen.String() {
			require.True(t, r == '\n' || r == '\t' || unicode.IsPrint(r), "%q", r)
		}
	})
}
