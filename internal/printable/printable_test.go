package printable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"plain":             {"connection refused", "connection refused"},
		"letters":           {"größe 日本", "größe 日本"},
		"clear screen":      {"\x1b[2JPushed recovery key.\r\n", `\x1b[2JPushed recovery key.\r\n`},
		"C1 control":        {"\u009b2J", `\u009b2J`},
		"right to left":     {"a\u202eb", `a\u202eb`},
		"line separator":    {"a\u2028b", `a\u2028b`},
		"no break space":    {"a\u00a0b", `a\u00a0b`},
		"no UTF-8":          {"a\xff\xfeb", `a\xff\xfeb`},
		"already escaped":   {`\x1b`, `\\x1b`},
		"replacement rune":  {"a\ufffdb", "a\ufffdb"},
		"as long as shown":  {strings.Repeat("a", MaxText), strings.Repeat("a", MaxText)},
		"one byte longer":   {strings.Repeat("a", MaxText+1), strings.Repeat("a", MaxText) + "... (257 bytes)"},
		"cut before a rune": {strings.Repeat("a", MaxText-1) + "ä", strings.Repeat("a", MaxText-1) + "... (257 bytes)"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, Text(tt.in)) })
	}
	assert.Equal(t, `"a\"b\\"`, Quote(`a"b\`))
}

func TestError(t *testing.T) {
	assert.NoError(t, Error(nil))
	err := Error(fmt.Errorf("member \x1b[2J: %w", io.EOF))
	assert.EqualError(t, err, `member \x1b[2J: EOF`)
	assert.ErrorIs(t, err, io.EOF)
	assert.Less(t, len(Error(errors.New(strings.Repeat("\x00", 1<<20))).Error()), MaxError+32)
}

func TestMultiline(t *testing.T) {
	assert.Equal(t, "two\nlines\t\\x1b \\x1b[2J\\r\\u202e\\xff", Multiline("two\nlines\t\\x1b \x1b[2J\r\u202e\xff"))
}

func FuzzJSON(f *testing.F) {
	f.Add("\x7f\u009b2J\u202e\u2028\U000e0041\xff\"")
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := json.Marshal(s)
		require.NoError(t, err)
		var before, after string
		require.NoError(t, json.Unmarshal(raw, &before))
		require.NoError(t, json.Unmarshal(JSON(raw), &after))
		assert.Equal(t, before, after)
		for _, r := range string(JSON(raw)) {
			assert.True(t, unicode.IsPrint(r), "%q", r)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("\x1b[2J\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		text := Text(s)
		assert.True(t, utf8.ValidString(text))
		assert.LessOrEqual(t, len(text), MaxText+32)
		assert.NotContains(t, Quote(s)[1:len(Quote(s))-1], "\n")
		for _, r := range text {
			assert.True(t, unicode.IsPrint(r), "%q", r)
		}
	})
}
