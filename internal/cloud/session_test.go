package cloud

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// login counts how often it was made.
type login struct {
	made int
	err  error
	wait time.Duration
}

func (l *login) open(ctx context.Context) (int, error) {
	l.made++
	if err := pause(ctx, l.wait); err != nil {
		return 0, err
	}
	return l.made, l.err
}

func number(n int, _ context.Context) (int, error) { return n, nil }

func refused(int, context.Context) (int, error) { return 0, errLookup }

func TestSessionIsKeptUntilACallFails(t *testing.T) {
	l := &login{}
	s := NewSession(l.open)
	assert.Zero(t, l.made, "not before it is needed")
	for _, step := range []struct {
		ask  func(int, context.Context) (int, error)
		want int
		err  error
	}{{number, 1, nil}, {number, 1, nil}, {refused, 0, errLookup}, {number, 2, nil}, {refused, 0, errLookup}, {refused, 0, errLookup}, {number, 4, nil}} {
		got, err := Use(t.Context(), s, step.ask)
		require.ErrorIs(t, err, step.err)
		assert.Equal(t, step.want, got)
	}
}

func TestSessionThatCannotBeMade(t *testing.T) {
	l := &login{err: errLookup}
	s := NewSession(l.open)
	_, err := Use(t.Context(), s, number)
	require.ErrorIs(t, err, errLookup)
	l.err = nil
	got, err := Use(t.Context(), s, number)
	require.NoError(t, err)
	assert.Equal(t, 2, got)
}

func TestSessionIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &login{wait: time.Second}
		s := NewSession(l.open)
		var uses sync.WaitGroup
		for range 5 {
			uses.Go(func() { _, err := Use(t.Context(), s, number); assert.NoError(t, err) })
		}
		uses.Wait()
		assert.Equal(t, 1, l.made)
	})
}

// TestSessionIsBoundedInTime: also for those who wait until it is made.
func TestSessionIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := NewSession((&login{wait: time.Hour}).open)
		var uses sync.WaitGroup
		for range 3 {
			uses.Go(func() { _, err := Use(t.Context(), s, number); assert.ErrorIs(t, err, context.DeadlineExceeded) })
		}
		uses.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := Use(ctx, s, number)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(began), "a call that is cancelled returns at once")
		})
		uses.Wait()
		assert.Equal(t, SDKTimeout, time.Since(began))
	})
}

func TestErrorsOfASessionAreBrief(t *testing.T) {
	long := errors.New(strings.Repeat("é", 1<<20))
	_, err := Use(t.Context(), NewSession((&login{err: long}).open), number)
	require.ErrorIs(t, err, long)
	assert.Less(t, len(err.Error()), printable.MaxError+100)
}
