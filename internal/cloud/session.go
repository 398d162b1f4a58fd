package cloud

import (
	"context"
	"sync/atomic"
)

// Session is what a provider makes for its calls: a login, clients, and what it
// has learned of itself. The first use makes it, later ones share it, and the next
// one after a failure makes it anew: neither a login that has run out nor an answer
// that was wrong stays.
type Session[T any] struct {
	open func(context.Context) (T, error)
	slot chan *opened[T] // holds one, or nil; empty while one is being made
}

type opened[T any] struct {
	value  T
	failed atomic.Bool
}

// NewSession returns a session that open is to make. It does not call open yet.
func NewSession[T any](open func(context.Context) (T, error)) *Session[T] {
	slot := make(chan *opened[T], 1)
	slot <- nil
	return &Session[T]{open, slot}
}

// Use asks with the session, as Bounded does.
func Use[T, R any](ctx context.Context, s *Session[T], ask func(T, context.Context) (R, error)) (R, error) {
	return Bounded(ctx, func(ctx context.Context) (answer R, err error) {
		made, err := s.take(ctx)
		if err != nil {
			return answer, err
		}
		if answer, err = ask(made.value, ctx); err != nil {
			made.failed.Store(true)
		}
		return answer, err
	})
}

func (s *Session[T]) take(ctx context.Context) (*opened[T], error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case made := <-s.slot:
		defer func() { s.slot <- made }()
		if made != nil && !made.failed.Load() {
			return made, nil
		}
		made = nil
		value, err := s.open(ctx)
		if err != nil {
			return nil, err
		}
		made = &opened[T]{value: value}
		return made, nil
	}
}
