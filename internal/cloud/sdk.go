package cloud

import (
	"context"
	"time"

	"disk-mapper/internal/printable"
)

const (
	// SDKTimeout bounds one call of Metadata, all its HTTP calls together.
	SDKTimeout = 10 * time.Second
	// MaxPages is how many pages of one list are asked for.
	MaxPages = 16
)

// Bounded asks, whatever that takes, and ends within SDKTimeout. Its errors are
// bounded and printable: SDKs quote whole answers. An answer may come with one.
func Bounded[R any](ctx context.Context, ask func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, SDKTimeout)
	defer cancel()
	answer, err := ask(ctx)
	return answer, printable.Error(err)
}
