package vmtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func is(want string) func(string) bool { return func(line string) bool { return line == want } }

func TestConsoleLines(t *testing.T) {
	var echo strings.Builder
	c := newConsole(&echo)
	c.read(strings.NewReader("\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading\r\n\r\n" +
		"\x1b[!p\x1b]104\x07\x1b[?7h{\"level\":\"INFO\"}\r\n" + "without an end"))
	var texts []string
	for i, line := range c.all() {
		assert.Equal(t, i, line.Index)
		texts = append(texts, line.Text)
	}
	assert.Equal(t, []string{"BdsDxe: loading", "", `{"level":"INFO"}`, "without an end"}, texts)
	assert.Equal(t, strings.Join(texts, "\n")+"\n", echo.String())
}

func TestWaitFindsWhatHasBeen(t *testing.T) {
	c := newConsole(nil)
	c.read(strings.NewReader("again\nonce\nagain\n"))
	first, err := c.wait(t.Context(), 0, is("again"))
	require.NoError(t, err)
	assert.Equal(t, 0, first.Index)
	second, err := c.wait(t.Context(), first.Index+1, is("again"))
	require.NoError(t, err)
	assert.Equal(t, 2, second.Index)
	_, err = c.wait(t.Context(), second.Index+1, is("again"))
	assert.ErrorIs(t, err, ErrEnded)
	assert.ErrorContains(t, err, "once", "the error shows the console")
}

func TestWaitWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(nil)
		serial, guest := io.Pipe()
		go c.read(serial)
		found := make(chan error)
		go func() { _, err := c.wait(t.Context(), 0, is("ready")); found <- err }()
		for _, text := range []string{"not yet\n", "rea", "dy\n"} {
			select {
			case err := <-found:
				t.Fatal("found too early:", err)
			default:
			}
			_, err := io.WriteString(guest, text)
			require.NoError(t, err)
			synctest.Wait()
		}
		assert.NoError(t, <-found)
		require.NoError(t, guest.Close())
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the test is over")
		ctx, cancel := context.WithCancelCause(t.Context())
		c := newConsole(nil)
		c.add("last words")
		failed := make(chan error)
		go func() { _, err := c.wait(ctx, 0, is("ready")); failed <- err }()
		synctest.Wait()
		cancel(gone)
		err := <-failed
		assert.ErrorIs(t, err, gone)
		assert.ErrorContains(t, err, "last words")
	})
}
