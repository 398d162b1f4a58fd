package fake

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Hostile are the answers that a client must survive: by the rows M1 to M4 and M10
// of the threat model. They count what they write.
type Hostile struct{ Written atomic.Int64 }

// maxText is how long an error may be: what the platform said, and a few words.
const maxText = printable.MaxError + 100

// Fault is one of them, and a pattern of the error that it must end in.
type Fault struct {
	Answer http.HandlerFunc
	Want   string
}

// Faults are all, by name. A redirect leads to elsewhere.
func (h *Hostile) Faults(elsewhere string) map[string]Fault {
	return map[string]Fault{
		"M1 garbage":            {JSON("\x00\xff\x17garbage"), "invalid character"},
		"M1 HTML":               {JSON("<!DOCTYPE html><html></html>"), "invalid character '<'"},
		"M1 truncated":          {JSON(`{"value": [{"name": "x"`), "unexpected end"},
		"M1 nested":             {JSON(strings.Repeat("[", 1<<20)), "exceeded max depth"},
		"M2 1 GiB announced":    {h.announce, "longer than 1048576 bytes"},
		"M2 endless":            {h.flood, "longer than 1048576 bytes"},
		"M3 a byte at a time":   {Trickle, "Client.Timeout|deadline exceeded"},
		"M3 never":              {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "Client.Timeout|deadline exceeded"},
		"M4 redirect":           {http.RedirectHandler(elsewhere, http.StatusFound).ServeHTTP, "status 302"},
		"M4 redirect to a file": {http.RedirectHandler("file:///etc/passwd", http.StatusTemporaryRedirect).ServeHTTP, "status 307"},
		"M10 403":               {Status(http.StatusForbidden, `{"error": {"code": "AuthorizationFailed"}}`), "status 403"},
		"M10 404":               {Status(http.StatusNotFound, "not here"), "status 404"},
		"M10 500":               {Status(http.StatusInternalServerError, strings.Repeat("long\n", 100_000)), "status 500"},
		"M10 503":               {Status(http.StatusServiceUnavailable, ""), "status 503"},
		"M10 429, soon again":   {Throttle("1"), "status 429"},
		"M10 429, for an hour":  {Throttle("3600"), "status 429"},
		"M10 hangs up":          {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	}
}

// Trial is a client whose platform goes wrong in one place.
type Trial struct {
	Client   *http.Client
	Platform *Platform
	Place    string       // a call
	Ask      func() error // asks for something in which that call comes by
	Want     string       // a pattern of what the error may be besides the fault's own; or empty
	Heal     func()
}

// Besiege: each fault in each place ends in an error that names it, in bounded time
// and memory, and does no harm to what is asked next.
func Besiege[P any](t *testing.T, places map[string]P, trial func(t *testing.T, place string) Trial) {
	elsewhere := Elsewhere(t)
	for name := range new(Hostile).Faults("") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var inPlaces sync.WaitGroup
			defer inPlaces.Wait()
			for place := range places {
				c := trial(t, place)
				inPlaces.Go(func() { c.survive(t, name, elsewhere) })
			}
		})
	}
}

func (c Trial) survive(t *testing.T, name, elsewhere string) {
	var h Hostile
	fault := h.Faults(elsewhere)[name]
	c.Platform.Say(c.Place, fault.Answer)
	c.Client.Timeout = 0 // what is said is the matter: a slow machine must not decide
	if strings.HasPrefix(name, "M3") {
		c.Client.Timeout = 300 * time.Millisecond
	}
	want := regexp.MustCompile(strings.TrimSuffix(fault.Want+"|"+c.Want, "|"))
	tries, err := persist(c.Ask, func(err error) bool { return err != nil && want.MatchString(err.Error()) })
	if assert.Error(t, err, c.Place) {
		assert.Regexp(t, want, err.Error(), c.Place)
		assert.Less(t, len(err.Error()), maxText, c.Place)
		assert.NotContains(t, err.Error(), "\n", c.Place)
	}
	assert.Less(t, h.Written.Load(), int64(tries*6*8<<20), "what the sockets hold beyond the limit")

	c.Heal()
	c.Client.Timeout = 0
	_, err = persist(c.Ask, func(err error) bool { return err == nil })
	assert.NoError(t, err, c.Place)
}

// Outlive: a fault in one call ends in an error that is short, within the time
// given and after at most so many calls; and when the platform has healed, what is
// asked next is good.
func Outlive(t *testing.T, s *Script, call string, fault Fault, source cloud.Source, calls int) {
	t.Helper()
	good := s.Say(call, fault.Answer)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	endpoints, err := source.JoinEndpoints(ctx)
	require.Error(t, err)
	assert.Empty(t, endpoints)
	assert.Less(t, len(err.Error()), maxText)
	assert.LessOrEqual(t, s.Count(call), calls)

	s.Say(call, good)
	endpoints, _ = source.JoinEndpoints(t.Context())
	assert.NotEmpty(t, endpoints)
}

// persist asks until the answer is due, a few times: a machine that is too busy
// with other tests answers late, which is a fault of its own.
func persist(ask func() error, due func(error) bool) (tries int, err error) {
	for tries = 1; ; tries++ {
		if err = ask(); due(err) || tries == 10 {
			return tries, err
		}
	}
}

// Throttle asks the client to come again after some seconds.
func Throttle(seconds string) http.HandlerFunc {
	return StatusWith(http.StatusTooManyRequests, "Retry-After", seconds, "")
}

func (h *Hostile) announce(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(1<<30))
	h.flood(w, r)
}

// flood writes until the client has had enough.
func (h *Hostile) flood(w http.ResponseWriter, _ *http.Request) {
	chunk := []byte(strings.Repeat(" ", 32<<10))
	for {
		n, err := w.Write(chunk)
		h.Written.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// Trickle sends one byte, flushed, at a time.
func Trickle(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}
