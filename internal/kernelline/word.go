package kernelline

import (
	"fmt"
	"strings"

	"disk-mapper/internal/printable"
)

// word is one parameter, without its quotes.
type word struct {
	name, value string
	assigned    bool // there was a "="
}

func (w word) text() string {
	if w.assigned {
		return w.name + "=" + w.value
	}
	return w.name
}

func newWord(text string) word {
	name, value, assigned := strings.Cut(text, "=")
	return word{name, value, assigned}
}

// split takes the line apart at spaces that are not in double quotes.
func split(line string) (words []word, err error) {
	var text strings.Builder
	quoted, begun := false, false
	end := func() {
		if begun {
			words = append(words, newWord(text.String()))
		}
		text.Reset()
		begun = false
	}
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"':
			quoted, begun = !quoted, true
		case isSpace(c) && !quoted:
			end()
		default:
			_ = text.WriteByte(c) // never fails
			begun = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("the kernel command line has a double quote without its counterpart, in %s: nothing behind it can be read", printable.Quote(text.String()))
	}
	end()
	return words, nil
}

func isSpace(c byte) bool { return strings.IndexByte(" \t\n\v\f\r\x00", c) >= 0 }
