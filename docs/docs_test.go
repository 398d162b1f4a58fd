// Package docs holds the documentation against the code.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
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

// daemon is where the lines on a node's console come from.
var daemon = []string{"cmd/disk-mapper", "setup", "recoveryserver", "rejoinclient", "internal/fairlistener"}

// logged maps each message that the daemon logs to its levels. A message that is
// put together counts by its constant beginning.
func logged(t *testing.T) map[string][]string {
	t.Helper()
	levels := map[string]string{"Info": "INFO", "Warn": "WARN", "Error": "ERROR"}
	all := map[string][]string{}
	for _, dir := range daemon {
		files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
		require.NoError(t, err)
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				if message, level := logCall(n, levels); message != "" {
					all[message] = append(all[message], level)
				}
				return true
			})
		}
	}
	return all
}

// logCall returns message and level of a call such as log.Info("message", ...).
func logCall(n ast.Node, levels map[string]string) (message, level string) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", ""
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	first, level := call.Args[0], levels[method.Sel.Name]
	if method.Sel.Name == "Log" && len(call.Args) > 1 { // a good end is INFO, others are not
		first, level = call.Args[1], "INFO"
	}
	if level == "" {
		return "", ""
	}
	if sum, ok := first.(*ast.BinaryExpr); ok {
		first = sum.X
	}
	literal, ok := first.(*ast.BasicLit)
	if !ok {
		return "", ""
	}
	message, _ = strconv.Unquote(literal.Value)
	return message, level
}

var tableRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([A-Z]+)(?: `([a-zA-Z.]+)`)? \\|")

// TestConsoleLines: the table of operations.md is what the daemon logs, no line
// more and no line less.
func TestConsoleLines(t *testing.T) {
	raw, err := os.ReadFile("operations.md")
	require.NoError(t, err)
	all := logged(t)
	documented := map[string]bool{}
	for _, row := range tableRow.FindAllStringSubmatch(string(raw), -1) {
		message, level := row[1], row[2]
		if _, constant := all[message]; !constant {
			message = beginning(all, message)
		}
		if assert.Contains(t, all, message, "operations.md names a line that is not printed: %s", row[1]) {
			documented[message] = true
			assert.Contains(t, all[message], level, row[1])
		}
	}
	for message := range all {
		assert.True(t, documented[message], "operations.md does not name %q", message)
	}
}

// beginning finds a message that is put together at run time.
func beginning(all map[string][]string, message string) string {
	for m := range all {
		if strings.HasSuffix(m, " ") && strings.HasPrefix(message, m) {
			return m
		}
	}
	return message
}

var testName = regexp.MustCompile("`(?:[a-z]+\\.)?((?:Test|Fuzz)[A-Za-z0-9]+)`")

// TestClaimsNameTests: every test that the documentation leans on exists.
func TestClaimsNameTests(t *testing.T) {
	var tests strings.Builder
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		tests.Write(raw)
		return err
	}))
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, match := range testName.FindAllStringSubmatch(string(raw), -1) {
			assert.True(t, strings.Contains(tests.String(), "func "+match[1]+"("), "%s names %s, which does not exist", path, match[1])
		}
		return err
	}))
}
