// Package printable makes what somebody else wrote fit to be printed: bounded in
// length, and without a character that a terminal or a log reader acts on.
//
// It is the one place for that. Text of a peer, a platform, a file or a command
// line goes through here where it enters an error or a log line.
package printable

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// MaxText is the length in bytes of what Text and Quote show of a string.
	MaxText = 256
	// MaxError is the length in bytes of what Error shows of an error's text.
	MaxError = 1024
)

// Text is s with each character that is not printable, a backslash and a byte that
// is no UTF-8 escaped as in a Go literal. Of a long s it is the beginning, followed by
// the number of bytes that s has: at most MaxText bytes and that note.
func Text(s string) string { return bounded(s, MaxText) }

// Quote is Text between double quotes, with those inside escaped.
func Quote(s string) string { return `"` + strings.ReplaceAll(Text(s), `"`, `\"`) + `"` }

// Error returns an error that wraps err, with a text that is as Text makes it, but
// of up to MaxError bytes. Nil stays nil.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return printed{err}
}

type printed struct{ error }

func (p printed) Error() string { return bounded(p.error.Error(), MaxError) }
func (p printed) Unwrap() error { return p.error }

// Multiline is s with each character escaped that is not printable, but for newlines
// and tabs: for whole texts of ours, in which what others wrote has gone through Text
// before. It leaves backslashes as they are, so that nothing is escaped twice.
func Multiline(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		char := s[i : i+size]
		if r != '\n' && r != '\t' && unprintable(r, size) {
			char = escape(char)
		}
		b.WriteString(char)
		i += size
	}
	return b.String()
}

// Writer is for text that a person reads on a terminal: what is written to it goes on
// as Multiline makes it.
type Writer struct{ io.Writer }

func (w Writer) Write(text []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, Multiline(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// JSON is a JSON text that means the same as raw and is printable but for the white
// space between its tokens. What is not valid UTF-8 is replaced.
func JSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		switch {
		case r >= 0x10000 && !strconv.IsPrint(r):
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		case r >= 0x7f && unprintable(r, size):
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, raw[i:i+size]...)
		}
		i += size
	}
	return out
}

func unprintable(r rune, size int) bool {
	return !strconv.IsPrint(r) || r == utf8.RuneError && size == 1
}

// bounded looks at no more of s than it shows.
func bounded(s string, limit int) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		char := s[i : i+size]
		if r == '\\' || unprintable(r, size) {
			char = escape(char)
		}
		if b.Len()+len(char) > limit {
			return fmt.Sprintf("%s... (%d bytes)", b.String(), len(s))
		}
		b.WriteString(char)
		i += size
	}
	return b.String()
}

// escape leaves out the quotes that strconv puts around.
func escape(char string) string {
	quoted := strconv.Quote(char)
	return quoted[1 : len(quoted)-1]
}
