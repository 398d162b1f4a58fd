package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	// threatCell is the first cell of a row: codes and ranges of them.
	threatCell = regexp.MustCompile(`(?m)^\| ([A-Z][0-9]+(?:(?:, | to )[A-Z][0-9]+)*) \|`)
	// threatCode is what Go code calls a row, at the start of a test's case or in a comment.
	threatCode  = regexp.MustCompile(`\b[ADGJLMRT][0-9]{1,2}\b`)
	commentLine = regexp.MustCompile(`^\s*//|"[ADGJLMRT][0-9]{1,2}\b`)
)

// codesOf lists what a cell such as "L1 to L3" or "R7, R8, R9" stands for.
func codesOf(t *testing.T, cell string) (codes []string) {
	t.Helper()
	for part := range strings.SplitSeq(cell, ", ") {
		first, last, isRange := strings.Cut(part, " to ")
		if !isRange {
			codes = append(codes, part)
			continue
		}
		from, err := strconv.Atoi(first[1:])
		require.NoError(t, err)
		to, err := strconv.Atoi(last[1:])
		require.NoError(t, err)
		require.Equal(t, first[0], last[0], cell)
		for n := from; n <= to; n++ {
			codes = append(codes, first[:1]+strconv.Itoa(n))
		}
	}
	return codes
}

// TestThreatsHaveRows: each code that tests and comments use is explained.
func TestThreatsHaveRows(t *testing.T) {
	raw, err := os.ReadFile("threat-model.md")
	require.NoError(t, err)
	rows := map[string]bool{}
	for _, cell := range threatCell.FindAllStringSubmatch(string(raw), -1) {
		for _, code := range codesOf(t, cell[1]) {
			rows[code] = true
		}
	}
	require.NotEmpty(t, rows)
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		source, err := os.ReadFile(path)
		for number, line := range strings.Split(string(source), "\n") {
			if !commentLine.MatchString(line) {
				continue
			}
			for _, code := range threatCode.FindAllString(line, -1) {
				assert.True(t, rows[code], "%s:%d: threat-model.md has no row %s", path, number+1, code)
			}
		}
		return err
	}))
}
