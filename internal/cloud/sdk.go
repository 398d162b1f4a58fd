package cloud

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
)

const (
	// SDKTimeout bounds one call of Metadata, all its HTTP calls together.
	SDKTimeout = 10 * time.Second
	// MaxPages is how many pages of one list are asked for.
	MaxPages = 16

	maxError = 300
)

// Bounded asks, whatever that takes, and ends within SDKTimeout. Its errors are
// brief. An answer may come with one.
func Bounded[R any](ctx context.Context, ask func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, SDKTimeout)
	defer cancel()
	answer, err := ask(ctx)
	return answer, Brief(err)
}

// Brief is err on one line of bounded length: SDKs quote whole answers.
func Brief(err error) error {
	if err == nil {
		return nil
	}
	return brief{err}
}

type brief struct{ error }

func (b brief) Error() string {
	lines := strings.FieldsFunc(b.error.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	text := strings.Map(printable, strings.Join(lines, "; "))
	if len(text) > maxError {
		return fmt.Sprintf("%s ... (%d bytes)", strings.ToValidUTF8(text[:maxError], ""), len(text))
	}
	return text
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}

func (b brief) Unwrap() error { return b.error }
