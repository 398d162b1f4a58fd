package recoveryserver

import (
	"context"
	"path"
	"strings"
	"time"

	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/printable"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// callerLines are those about callers.
type callerLines struct {
	log    *zap.Logger
	shared fairlistener.Lines
}

func (l *callerLines) about(conn *fairlistener.Conn) *zap.Logger {
	return l.shared.About(l.log, conn.Network(), conn.Trusted())
}

// of is for lines about a call.
func (l *callerLines) of(ctx context.Context) *zap.Logger { return l.about(connection(ctx)) }

// logCalls writes one line per call, to the log for this caller. Its wording and
// fields are relied on by those who watch nodes.
func logCalls(logFor func(context.Context) *zap.Logger) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		start := time.Now()
		err := handle(service, stream)
		code := status.Code(err)
		fields := []zap.Field{
			zap.String("grpc.start_time", start.UTC().Format(time.RFC3339)),
			zap.String("system", "grpc"),
			zap.String("span.kind", "server"),
			zap.String("grpc.service", printable.Text(strings.TrimPrefix(path.Dir(info.FullMethod), "/"))),
			zap.String("grpc.method", printable.Text(path.Base(info.FullMethod))),
			zap.String("peer.address", peerAddress(stream.Context())),
			zap.String("grpc.code", code.String()),
			zap.Float64("grpc.time_ms", float64(time.Since(start).Microseconds())/1000),
		}
		level := zap.InfoLevel
		if err != nil {
			level, fields = zap.WarnLevel, append(fields, fairlistener.Reason(err))
		}
		logFor(stream.Context()).Named("gRPC").Log(level, "finished streaming call with code "+code.String(), fields...)
		return err
	}
}

// refuseUnknown answers calls of other methods, through logCalls.
func refuseUnknown(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "only Recover is served here")
}

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return "unknown"
}
