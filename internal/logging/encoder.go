package logging

import (
	"encoding/base64"
	"fmt"
	"unicode/utf8"

	"disk-mapper/internal/printable"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

const (
	// MaxValue is how many bytes of one string or error a line shows, as they are
	// written in JSON. Of a longer one it shows the beginning and the length.
	MaxValue = 4 << 10
	// MaxLine is how many bytes a line has at most.
	MaxLine = 16 << 10
)

// encoder is the last place that text passes on its way to a console. It knows no
// callers: what they forgot to bound is bounded, and what a terminal would act on
// is escaped, in a way that leaves the meaning of the JSON as it is.
type encoder struct{ zapcore.Encoder }

func (e encoder) Clone() zapcore.Encoder { return encoder{e.Encoder.Clone()} }

// AddString also gets errors and Stringers.
func (e encoder) AddString(key, value string) { e.Encoder.AddString(key, bounded(value)) }

func (e encoder) AddByteString(key string, value []byte) { e.AddString(key, string(value)) }

func (e encoder) AddBinary(key string, value []byte) {
	e.AddString(key, base64.StdEncoding.EncodeToString(value))
}

// EncodeEntry leaves out lists and structures if the line would be too long with
// them, and then everything else.
func (e encoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	entry.Message, entry.LoggerName = bounded(entry.Message), bounded(entry.LoggerName)
	line, err := e.encode(entry, fields)
	if err != nil || line.Len() <= MaxLine {
		return line, err
	}
	note := fmt.Sprintf("left out, the line has %d bytes with it", line.Len())
	brief := make([]zapcore.Field, len(fields))
	for i, field := range fields {
		brief[i] = field
		if compound(field) {
			brief[i] = zapcore.Field{Key: field.Key, Type: zapcore.StringType, String: note}
		}
	}
	if line, err = e.encode(entry, brief); err != nil || line.Len() <= MaxLine {
		return line, err
	}
	plain := encoder{zapcore.NewJSONEncoder(encoding())} // without what With has added
	return plain.encode(entry, []zapcore.Field{{Key: "fields", Type: zapcore.StringType, String: note}})
}

func compound(field zapcore.Field) bool {
	switch field.Type {
	case zapcore.ArrayMarshalerType, zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType, zapcore.ReflectType:
		return true
	}
	return false
}

func (e encoder) encode(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	with := e.Clone().(encoder)
	for _, field := range fields {
		field.AddTo(with)
	}
	line, err := with.Encoder.EncodeEntry(entry, nil)
	if err != nil {
		return nil, err
	}
	text := printable.JSON(line.Bytes())
	line.Reset()
	_, err = line.Write(text)
	return line, err
}

// bounded cuts s where it is longer than MaxValue once it is written.
func bounded(s string) string {
	written := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		written += width(r, size)
		if written > MaxValue {
			return fmt.Sprintf("%s... (%d bytes)", s[:i], len(s))
		}
		i += size
	}
	return s
}

// width is how many bytes a character takes at most.
func width(r rune, size int) int {
	switch {
	case r >= 0x10000:
		return 12
	case r < ' ' || r >= 0x7f:
		return 6
	case r == '"' || r == '\\':
		return 2
	}
	return size
}
