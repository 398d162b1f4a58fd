package disk

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writeCorpus keeps the images: make corpus.
var writeCorpus = flag.String("write-corpus", "", "directory for the images of the corpus")

// bad is one row of the corpus: a disk with one thing wrong, and the refusal
// that it must get. The number is that of the threat.
type bad struct {
	threat, name string
	change       func(*crafted)
	field, found string
	meaning      Meaning
}

// good is a disk at the edge of what is accepted.
type good struct {
	threat, name string
	change       func(*crafted)
	want         State
}

// corpus is all rows.
func corpus() []bad {
	return slices.Concat(headerCorpus, binaryCorpus, tokenCorpus, foreignCorpus, superblockCorpus)
}

// TestCorpus: each row is refused with its error, and its image is what it was.
func TestCorpus(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range corpus() {
		id := row.threat + " " + row.name
		require.False(t, seen[id], "two rows are named %s", id)
		seen[id] = true
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "disk")
			c := joinedDisk(t)
			row.change(c)
			c.write(path)
			_, err := Open(t.Context(), path)
			var refusal *Refusal
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, row.field, refusal.Field)
			assert.Contains(t, refusal.Found, row.found)
			assert.Equal(t, row.meaning, refusal.Meaning)
			assert.NotEmpty(t, refusal.Want)
			assert.Less(t, len(err.Error()), printable.MaxError, "a disk decides how much is logged")
			assertUnchanged(t, path, c.image)
		})
	}
	t.Logf("%d refused disks", len(seen))
}

// TestCorpusAccepts: what real disks have is not refused with the rest.
func TestCorpusAccepts(t *testing.T) {
	for _, row := range acceptedCorpus {
		t.Run(row.threat+" "+row.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "disk")
			c := joinedDisk(t)
			row.change(c)
			c.write(path)
			d, err := Open(t.Context(), path)
			require.NoError(t, err)
			assert.Equal(t, row.want, d.State())
			assertUnchanged(t, path, c.image)
		})
	}
}

// assertUnchanged compares every byte.
func assertUnchanged(t *testing.T, path string, before []byte) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, len(before), info.Size())
	block := make([]byte, 64<<10)
	for at := 0; at < len(before); at += len(block) {
		want := before[at:min(at+len(block), len(before))]
		_, err := io.ReadFull(f, block[:len(want)])
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, block[:len(want)]), "the disk was written near byte %d", at)
	}
}

// TestEveryThreatHasRows: a threat without a row would be forgotten.
func TestEveryThreatHasRows(t *testing.T) {
	rows := map[string]int{}
	for _, row := range corpus() {
		rows[row.threat]++
	}
	elsewhere := []string{"L28", "D7", "D8", "D9", "D10"} // need a disk that changes, or a kernel: tests in a VM
	for group, n := range map[string]int{"L": 28, "D": 10} {
		for i := 1; i <= n; i++ {
			if id := fmt.Sprint(group, i); !slices.Contains(elsewhere, id) {
				assert.Positive(t, rows[id], "no row for %s", id)
			}
		}
	}
}

// TestWriteCorpus leaves the images and an index of their refusals where other
// programs can be tried on them. The images are sparse.
func TestWriteCorpus(t *testing.T) {
	if *writeCorpus == "" {
		t.Skip("make corpus")
	}
	var index []map[string]string
	for _, row := range corpus() {
		c := joinedDisk(t)
		row.change(c)
		name := strings.Map(fileRune, row.threat+"-"+row.name) + ".img"
		c.write(filepath.Join(*writeCorpus, name))
		index = append(index, map[string]string{"image": name, "threat": row.threat, "field": row.field, "meaning": row.meaning.String()})
	}
	raw, err := json.MarshalIndent(index, "", "\t")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(*writeCorpus, "index.json"), raw, 0o644))
}

func fileRune(r rune) rune {
	if r == ' ' || r == '/' || r > 126 {
		return '-'
	}
	return r
}
