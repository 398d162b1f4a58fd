package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secrets are what must not be found, by name.
type secrets map[string][]byte

// search looks for all forms of all secrets in one pass: a disk is large, and
// the guest is slow.
type search struct {
	starts  [1 << 16]bool // first two bytes of all forms
	byStart map[uint16][]form
	longest int
}

type form struct {
	name string
	text []byte
}

func newSearch(wanted secrets) *search {
	s := &search{byStart: map[uint16][]form{}}
	for name, secret := range wanted {
		for _, text := range forms(secret) {
			start := uint16(text[0])<<8 | uint16(text[1])
			s.starts[start] = true
			s.byStart[start] = append(s.byStart[start], form{name, text})
			s.longest = max(s.longest, len(text))
		}
	}
	return s
}

// forms are the ways in which programs write bytes down. In base64, what comes
// before a secret shifts it; the characters that it shares with its neighbours
// are left out.
func forms(secret []byte) [][]byte {
	all := [][]byte{
		secret,
		[]byte(hex.EncodeToString(secret)),
		[]byte(strings.ToUpper(hex.EncodeToString(secret))),
		[]byte(strings.Trim(fmt.Sprint(secret), "[]")),
		[]byte(strings.ReplaceAll(strings.Trim(fmt.Sprint(secret), "[]"), " ", ",")),
	}
	for before := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString(append(make([]byte, before), secret...))
			end := (before + len(secret)) * 8 / 6
			all = append(all, []byte(text[(before*8+5)/6:end]))
		}
	}
	return all
}

// in returns the names of the secrets found in r.
func (s *search) in(r io.Reader) ([]string, error) {
	found := map[string]bool{}
	buffer := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := io.ReadFull(r, buffer[kept:])
		s.look(buffer[:kept+n], found)
		if err != nil {
			names := make([]string, 0, len(found))
			for name := range found {
				names = append(names, name)
			}
			slices.Sort(names)
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = nil
			}
			return names, err
		}
		kept = copy(buffer, buffer[len(buffer)-s.longest+1:]) // what may go on in the next part
	}
}

func (s *search) look(b []byte, found map[string]bool) {
	var start uint16
	for i, c := range b {
		start = start<<8 | uint16(c)
		if !s.starts[start] || i == 0 {
			continue
		}
		for _, f := range s.byStart[start] {
			if bytes.HasPrefix(b[i-1:], f.text) {
				found[f.name] = true
			}
		}
	}
}

// TestSearchFinds hides a secret in every form, at every alignment, and across
// the border of two reads.
func TestSearchFinds(t *testing.T) {
	secret := bytes.Repeat([]byte{0xfb, 0xef, 0x3f, 7}, 8) // has + and /, - and _ in base64
	s := newSearch(secrets{"it": secret, "another": bytes.Repeat([]byte{0x11, 0x22}, 16)})
	hidden := map[string]string{
		"raw":        string(secret),
		"hex":        fmt.Sprintf("key=%x.", secret),
		"HEX":        fmt.Sprintf("key=%X.", secret),
		"Go":         fmt.Sprintf("%v", secret),
		"JSON array": strings.ReplaceAll(fmt.Sprintf("%v", secret), " ", ","),
	}
	for before := range 4 {
		text := append(bytes.Repeat([]byte("~"), before), append(slices.Clone(secret), "after"...)...)
		hidden[fmt.Sprintf("base64 after %d", before)] = base64.StdEncoding.EncodeToString(text)
		hidden[fmt.Sprintf("base64url after %d", before)] = base64.RawURLEncoding.EncodeToString(text)
	}
	for name, text := range hidden {
		for _, offset := range []int{0, 1, 100, 1<<20 - 1, 1<<20 - 20, 3<<20 - 7} {
			found, err := s.in(strings.NewReader(strings.Repeat(".", offset) + text))
			require.NoError(t, err)
			assert.Equal(t, []string{"it"}, found, "%s at %d", name, offset)
		}
	}
	found, err := s.in(bytes.NewReader(append(slices.Clone(secret[:31]), secret[:31]...)))
	require.NoError(t, err)
	assert.Empty(t, found, "all but one byte")
}
