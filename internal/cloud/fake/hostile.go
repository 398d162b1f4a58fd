package fake

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Hostile are the answers that a client must survive: by the rows M1 to M4 and M10
// of the threat model. They count what they write.
type Hostile struct{ Written atomic.Int64 }

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
		"M3 a byte at a time":   {trickle, "Client.Timeout|deadline exceeded"},
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

// Persist asks until the answer is due, a few times: a machine that is too busy
// with other tests answers late, which is a fault of its own.
func Persist(ask func() error, due func(error) bool) (tries int, err error) {
	for tries = 1; ; tries++ {
		if err = ask(); due(err) || tries == 10 {
			return tries, err
		}
	}
}

// Throttle asks the client to come again after some seconds.
func Throttle(seconds string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", seconds)
		w.WriteHeader(http.StatusTooManyRequests)
	}
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

// trickle sends one byte, flushed, at a time.
func trickle(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}
