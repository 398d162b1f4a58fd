package logging_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"disk-mapper/internal/logging"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// hostile is what a terminal, or a reader of lines, would act on.
const hostile = "\x1b[2J\r\n\u009b2J\x7f\u202egnp.exe\u2028\u2029\u2066\U000e0041\ufeff"

// oneLine is the one line on console, which has to be printable and short.
func oneLine(t *testing.T, console string) map[string]any {
	t.Helper()
	line, ended := strings.CutSuffix(console, "\n")
	require.True(t, ended)
	require.LessOrEqual(t, len(line), logging.MaxLine)
	for _, r := range line {
		require.True(t, unicode.IsPrint(r), "%q", r)
	}
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(line), &fields))
	return fields
}

// TestWhateverIsLogged is about each way to get text into a line.
func TestWhateverIsLogged(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	cut := fmt.Sprintf("%s... (%d bytes)", long[:logging.MaxValue], len(long))
	for name, tt := range map[string]struct {
		text string
		want any
	}{
		"hostile":          {hostile, hostile},
		"long":             {long, cut},
		"long and hostile": {strings.Repeat("\u202e", 1<<20), strings.Repeat("\u202e", logging.MaxValue/6) + "... (3145728 bytes)"},
		"as it is":         {`größe "日本"`, `größe "日本"`},
	} {
		for way, field := range map[string]zapcore.Field{
			"string":      zap.String("f", tt.text),
			"error":       zap.NamedError("f", errors.New(tt.text)),
			"byte string": zap.ByteString("f", []byte(tt.text)),
			"Stringer":    zap.Stringer("f", bytes.NewBufferString(tt.text)),
			"pointer":     zap.Stringp("f", &tt.text),
			"any":         zap.Any("f", tt.text),
		} {
			t.Run(name+" "+way, func(t *testing.T) {
				var console bytes.Buffer
				logging.New(&console, 0).Info("m", field)
				assert.Equal(t, tt.want, oneLine(t, console.String())["f"])
				console.Reset()
				logging.New(&console, 0).With(field).Info("m")
				assert.Equal(t, tt.want, oneLine(t, console.String())["f"])
			})
		}
		t.Run(name+" message", func(t *testing.T) {
			var console bytes.Buffer
			logging.New(&console, 0).Info(tt.text)
			assert.Equal(t, tt.want, oneLine(t, console.String())["msg"])
		})
	}
}

func TestLongLists(t *testing.T) {
	list := strings.Split(strings.Repeat("a,", 1<<16), ",")
	for name, field := range map[string]zapcore.Field{
		"strings":   zap.Strings("f", list),
		"errors":    zap.Errors("f", []error{errors.New(strings.Repeat("\x00", 1<<20))}),
		"reflected": zap.Reflect("f", list),
		"binary":    zap.Binary("f", make([]byte, 1<<20)),
		"joined":    zap.NamedError("f", errors.Join(errors.New(strings.Repeat("\u2028", 1<<20)), errors.New(hostile))),
	} {
		t.Run(name, func(t *testing.T) {
			var console bytes.Buffer
			logging.New(&console, 0).Info("m", field, zap.Int("n", 7), zap.String("endpoint", "10.0.0.1:30090"))
			fields := oneLine(t, console.String())
			assert.Contains(t, fields, "f")
			assert.InDelta(t, 7, fields["n"], 0)
			assert.Equal(t, "10.0.0.1:30090", fields["endpoint"])
		})
	}
	var console bytes.Buffer
	var many []zapcore.Field
	for i := range 8 {
		many = append(many, zap.String(fmt.Sprint(i), strings.Repeat("x", logging.MaxValue)))
	}
	logging.New(&console, 0).Info("m", many...)
	assert.Contains(t, oneLine(t, console.String())["fields"], "left out")
	console.Reset()
	logging.New(&console, 0).With(zap.Strings("f", list)).Info("m")
	assert.Contains(t, oneLine(t, console.String())["fields"], "left out")
	console.Reset()
	logging.New(&console, 0).Info("m", zap.Strings("f", []string{"10.0.0.1:30090", hostile}))
	assert.Equal(t, []any{"10.0.0.1:30090", hostile}, oneLine(t, console.String())["f"])
}

func FuzzLine(f *testing.F) {
	f.Add(hostile, []byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, s string, b []byte) {
		var console bytes.Buffer
		logging.New(&console, 0).With(zap.String("with", s)).Named(s).
			Info(s, zap.String("s", s), zap.ByteString("b", b), zap.Error(errors.New(s)), zap.Strings("l", []string{s, string(b)}), zap.Reflect("r", s))
		oneLine(t, console.String())
	})
}
