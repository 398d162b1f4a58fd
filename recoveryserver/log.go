package recoveryserver

import (
	"context"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// maxLogged bounds what a peer can put into one field of the log.
const maxLogged = 64

// logCalls writes one line per call. Its wording and fields are relied on by
// those who watch nodes.
func logCalls(log *zap.Logger) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		start := time.Now()
		err := handle(service, stream)
		code := status.Code(err)
		fields := []zap.Field{
			zap.String("grpc.start_time", start.UTC().Format(time.RFC3339)),
			zap.String("system", "grpc"),
			zap.String("span.kind", "server"),
			zap.String("grpc.service", shorten(strings.TrimPrefix(path.Dir(info.FullMethod), "/"))),
			zap.String("grpc.method", shorten(path.Base(info.FullMethod))),
			zap.String("peer.address", peerAddress(stream.Context())),
			zap.String("grpc.code", code.String()),
			zap.Float64("grpc.time_ms", float64(time.Since(start).Microseconds())/1000),
		}
		level := zap.InfoLevel
		if err != nil {
			level, fields = zap.WarnLevel, append(fields, zap.Error(err))
		}
		log.Log(level, "finished streaming call with code "+code.String(), fields...)
		return err
	}
}

// refuseUnknown answers calls of other methods, through logCalls.
func refuseUnknown(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "only Recover is served here")
}

// ration passes on maxLines of each message per logInterval, and counts those
// that it leaves out: strangers must not fill the console. The lines of one
// recovery are all there.
func ration(log *zap.Logger, leftOut *atomic.Int64) *zap.Logger {
	count := zapcore.SamplerHook(func(_ zapcore.Entry, decision zapcore.SamplingDecision) {
		if decision&zapcore.LogDropped != 0 {
			leftOut.Add(1)
		}
	})
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, logInterval, maxLines, 0, count)
	}))
}

// reportLeftOut sums up what ration leaves out, until ctx ends.
func reportLeftOut(ctx context.Context, log *zap.Logger, leftOut *atomic.Int64) {
	report := time.NewTicker(logInterval)
	defer report.Stop()
	for ended := false; !ended; {
		select {
		case <-report.C:
		case <-ctx.Done():
			ended = true
		}
		if n := leftOut.Swap(0); n > 0 {
			log.Warn("Left out lines about callers", zap.Int64("lines", n))
		}
	}
}

func shorten(s string) string { return s[:min(len(s), maxLogged)] }

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return "unknown"
}
