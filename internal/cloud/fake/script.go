package fake

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Script is what is answered to each call, by names that a test gives to calls, and
// which calls have come. The zero value answers nothing.
type Script struct {
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	calls   []string
}

// NewScript begins with these answers.
func NewScript(answers map[string]http.HandlerFunc) *Script { return &Script{answers: answers} }

// Say sets the answer to a call from now on, and returns the one before.
func (s *Script) Say(call string, answer http.HandlerFunc) (before http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.answers[call]
	s.answers[call] = answer
	return before
}

// Take notes that a call has come and returns its answer, nil if there is none.
func (s *Script) Take(call string) http.HandlerFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	return s.answers[call]
}

// Calls are those that have come since the last time, in order.
func (s *Script) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.calls = nil }()
	return slices.Clone(s.calls)
}

// Count is how often a call is among Calls, which it empties.
func (s *Script) Count(call string) (n int) {
	for _, c := range s.Calls() {
		if c == call {
			n++
		}
	}
	return n
}

// JSON answers with text.
func JSON(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write([]byte(text))
	}
}

// Text answers with text of no special kind.
func Text(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// Status answers with a code, and with text as the reason.
func Status(code int, text string) http.HandlerFunc { return StatusWith(code, "", "", text) }

// StatusWith is Status with a header, if it is named.
func StatusWith(code int, header, value, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set(header, value)
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(text))
	}
}

// Read is a file of testdata.
func Read(name string) string {
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		panic(err) // also in the seeds of a fuzz target
	}
	return string(raw)
}

// File answers with a file of testdata.
func File(name string) http.HandlerFunc { return JSON(Read(name)) }

// Edited is a file of testdata in which each old text, which must be there, has been
// replaced with the new one after it.
func Edited(t testing.TB, name string, replace ...string) string {
	t.Helper()
	text := Read(name)
	for pair := range slices.Chunk(replace, 2) {
		require.Contains(t, text, pair[0])
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}
