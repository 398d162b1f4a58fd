package docs

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write limits.md anew: make limits")

// limitFiles are where the limits of each part are.
var limitFiles = []string{
	"internal/fairlistener/limits.go", "recoveryserver/limits.go", "internal/joinservice/limits.go", "internal/sshproof/hello.go",
	"rejoinclient/limits.go", "internal/dial/dial.go", "setup/prover.go", "internal/cloud/http.go", "internal/cloud/sdk.go",
	"attestation/atls/atls.go", "disk/allow_list.go", "disk/snapshot.go", "disk/node_state.go",
}

const limitsHead = `# Limits

What strangers, the network and a disk may take of a node. Made from the constants of the code by ` + "`make limits`" + `; a test holds this page
against them. 

| where | limit | value | why |
|---|---|---|---|
`

// TestLimits: the page says what the code says.
func TestLimits(t *testing.T) {
	var page strings.Builder
	page.WriteString(limitsHead)
	for _, path := range limitFiles {
		limits := limitsOf(t, path)
		require.NotEmpty(t, limits, path)
		for _, l := range limits {
			fmt.Fprintf(&page, "| `%s` | `%s` | `%s` | %s |\n", filepath.Dir(path), l.name, l.value, l.why)
		}
	}
	page.WriteString(sharesPage(t))
	if *update {
		require.NoError(t, os.WriteFile("limits.md", []byte(page.String()), 0o644))
	}
	written, err := os.ReadFile("limits.md")
	require.NoError(t, err)
	assert.True(t, page.String() == string(written), "limits.md is not what the code says: run make limits")
}

type limit struct{ name, value, why string }

// limitsOf are the numbers among the constants of a file, and the durations in
// its variable production, with the comments at their lines or above them.
func limitsOf(t *testing.T, path string) (all []limit) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, filepath.Join("..", path), nil, parser.ParseComments)
	require.NoError(t, err)
	comments := commentsByLine(files, file)
	source := func(n ast.Node) string {
		var text strings.Builder
		require.NoError(t, printer.Fprint(&text, files, n))
		return text.String()
	}
	fields := map[string]string{} // comments of the fields that production sets
	add := func(name, value ast.Node, doc *ast.CommentGroup) {
		l := limit{source(name), source(value), comments[files.Position(name.Pos()).Line]}
		l.why = cmp.Or(l.why, fields[l.name], strings.Join(strings.Fields(doc.Text()), " "))
		if l.bounds(filepath.Base(path)) {
			all = append(all, l)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return false
		case *ast.Field:
			for _, name := range n.Names {
				fields[name.Name] = comments[files.Position(name.Pos()).Line]
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if name.Name == "production" {
					return true
				}
				if name.Obj.Kind == ast.Con && i < len(n.Values) {
					add(name, n.Values[i], n.Doc)
				}
			}
			return false
		case *ast.KeyValueExpr:
			add(n.Key, n.Value, nil)
			return false
		}
		return true
	})
	return all
}

// bounds: in a file of limits every number is one, elsewhere those that say so by
// their names, and durations.
func (l limit) bounds(file string) bool {
	if strings.ContainsAny(l.value, "\"`") {
		return false
	}
	return file == "limits.go" || strings.Contains(l.value, "time.") || strings.HasPrefix(strings.ToLower(l.name), "max") || strings.HasPrefix(l.name, "min")
}

func commentsByLine(files *token.FileSet, file *ast.File) map[int]string {
	comments := map[int]string{}
	for _, group := range file.Comments {
		comments[files.Position(group.Pos()).Line] = strings.TrimSpace(group.Text())
	}
	return comments
}
