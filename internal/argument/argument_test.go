package argument

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWord(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
		err  string
	}{
		"default":                 {nil, "2.24", ""},
		"given":                   {[]string{"-f", "2.1"}, "2.1", ""},
		"empty":                   {[]string{"-f", ""}, "", ErrEmpty.Error()},
		"empty after =":           {[]string{"-f="}, "", ErrEmpty.Error()},
		"twice":                   {[]string{"-f", "2.1", "-f", "2.24"}, "", ErrTwice.Error()},
		"twice the same":          {[]string{"-f", "2.1", "-f", "2.1"}, "", ErrTwice.Error()},
		"as the default, and not": {[]string{"-f", "2.24", "-f", "2.1"}, "", ErrTwice.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			flags := flag.NewFlagSet("", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			flags.Var(NewWord(&got, "2.24"), "f", "")
			err := flags.Parse(tt.args)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				assert.ErrorContains(t, err, "flag -f")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	assert.Empty(t, new(Word).String(), "package flag asks the zero value")
}

// textFlag defines a flag of package flag or of cobra that takes text in its own way: an
// empty value is the default, the last of two wins.
var textFlag = regexp.MustCompile(`\w+\.String(|Var|P|VarP|Slice\w*|Array\w*)\((&\S+, )?".*`)

func textFlags(code string) []string {
	return slices.DeleteFunc(textFlag.FindAllString(code, -1), func(s string) bool { return strings.HasPrefix(s, "zap.") })
}

// TestNoOtherTextFlags: all programs take Words.
func TestNoOtherTextFlags(t *testing.T) {
	require.NotEmpty(t, textFlags(`f.String("name", "", "")`))
	require.NotEmpty(t, textFlags(`flags.StringVarP(&opts.name, "name", "n", "", "")`))
	files, err := filepath.Glob("../../cmd/*/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			code, err := os.ReadFile(name)
			require.NoError(t, err)
			assert.Empty(t, textFlags(string(code)), name)
		}
	}
}

func TestNumber(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want int
		err  string
	}{
		"default":   {nil, 0, ""},
		"given":     {[]string{"-v", "-1"}, -1, ""},
		"empty":     {[]string{"-v="}, 0, ErrEmpty.Error()},
		"twice":     {[]string{"-v", "0", "-v", "2"}, 0, ErrTwice.Error()},
		"no number": {[]string{"-v", "debug"}, 0, `"debug" is no number`},
	} {
		t.Run(name, func(t *testing.T) {
			var got int
			flags := flag.NewFlagSet("", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			flags.Var(NewNumber(&got), "v", "")
			err := flags.Parse(tt.args)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}
