package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDecisionsAreListed: the index has each page, under the page's own title.
func TestDecisionsAreListed(t *testing.T) {
	index, err := os.ReadFile("decisions/README.md")
	require.NoError(t, err)
	pages, err := filepath.Glob("decisions/0*.md")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	assert.Equal(t, len(pages), strings.Count(string(index), "\n| ["), "rows of the index")
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		require.NoError(t, err)
		title, _, _ := strings.Cut(strings.TrimPrefix(string(raw), "# "), "\n")
		assert.Contains(t, string(index), "("+filepath.Base(page)+") | "+title+" | ")
	}
}
