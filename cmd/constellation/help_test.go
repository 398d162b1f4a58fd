package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

// TestHelp holds the help texts against golden files: a change to them is seen
// in review as the operator will see it.
func TestHelp(t *testing.T) {
	for _, command := range []string{"", "recover", "mastersecret create"} {
		t.Run(command, func(t *testing.T) {
			var out, notes bytes.Buffer
			require.NoError(t, run(t.Context(), append(strings.Fields(command), "--help"), &out, &notes))
			assert.Empty(t, notes.String())
			golden := filepath.Join("testdata", "help", strings.TrimSpace("constellation "+command)+".txt")
			if *update {
				require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), out.String())
		})
	}
}
