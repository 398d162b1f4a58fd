package vmtest

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseResult(t *testing.T) {
	tests := map[string]struct {
		lines   []string
		want    Result
		wantErr error
	}{
		"output":                 {[]string{"one", "two", "END 0"}, Result{Output: "one\ntwo\n"}, nil},
		"no output":              {[]string{"END 3"}, Result{ExitCode: 3}, nil},
		"no line end at its end": {[]string{"one", "twoEND 0"}, Result{Output: "one\ntwo"}, nil},
		"no exit code":           {[]string{"END x"}, Result{}, strconv.ErrSyntax},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var lines []Line
			for _, text := range tc.lines {
				lines = append(lines, Line{Text: text})
			}
			got, err := parseResult(lines, "END ")
			require.ErrorIs(t, err, tc.wantErr)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestWithScript(t *testing.T) {
	config := withScript(Config{Cmdline: []string{"loglevel=7"}, Overlay: []File{{Path: "/a"}}}, "true", "TOKEN")
	assert.Equal(t, []string{"rd.systemd.unit=vmtest.target", "loglevel=7"}, config.Cmdline)
	content := map[string]string{}
	for _, file := range config.Overlay {
		content[file.Path] = string(file.Content)
	}
	assert.Contains(t, content, "/a")
	assert.Equal(t, "#!/bin/sh\ntrue", content["/vmtest/script"])
	assert.Equal(t, "TOKEN", content["/vmtest/token"])
	assert.Equal(t, "#!/bin/sed -f", string(withScript(Config{}, "#!/bin/sed -f", "").Overlay[3].Content), "a script of its own kind")
}
