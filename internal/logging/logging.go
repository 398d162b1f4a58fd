// Package logging makes the logger of every long-running program here: one
// JSON object a line, in the form that operators and their alerts read on a
// serial console.
//
// It decides the form only. What may be logged (no key, secret or salt, ever)
// is up to the callers. Lines are bounded and printable whatever they pass.
package logging

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New returns a logger that writes to w, from any goroutine. Verbosity counts
// as the flag -v of the programs does: 0 logs INFO and above, -1 DEBUG too, 1
// only WARN and above, 2 only ERROR. Values beyond these count as the nearest.
func New(w io.Writer, verbosity int) *zap.Logger {
	least := zapcore.Level(min(max(verbosity, int(zapcore.DebugLevel)), int(zapcore.ErrorLevel)))
	sink := zapcore.Lock(zapcore.AddSync(w))
	return zap.New(zapcore.NewCore(encoder{zapcore.NewJSONEncoder(encoding())}, sink, least), zap.AddCaller())
}

// encoding writes level, ts, logger, caller and msg, in this order.
func encoding() zapcore.EncoderConfig {
	return zapcore.EncoderConfig{
		LevelKey: "level", EncodeLevel: zapcore.CapitalLevelEncoder,
		TimeKey: "ts", EncodeTime: secondsUTC,
		NameKey: "logger", EncodeName: zapcore.FullNameEncoder,
		CallerKey: "caller", EncodeCaller: zapcore.ShortCallerEncoder,
		MessageKey:     "msg",
		EncodeDuration: zapcore.StringDurationEncoder,
		LineEnding:     zapcore.DefaultLineEnding,
	}
}

func secondsUTC(t time.Time, line zapcore.PrimitiveArrayEncoder) {
	line.AppendString(t.UTC().Format(time.RFC3339))
}
