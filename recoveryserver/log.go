package recoveryserver

import (
	"context"
	"net"
	"path"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
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

// handshakes marks connections that have finished theirs, and writes a line per
// failed one, for debugging only: a load balancer's health checks fail every few
// seconds, strangers at will.
type handshakes struct {
	credentials.TransportCredentials
	log *zap.Logger
}

func (l handshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		l.log.Debug("Refused connection", zap.String("peer.address", raw.RemoteAddr().String()), zap.Error(err))
	} else if conn, ok := raw.(*cappedConn); ok {
		conn.greet()
	}
	return conn, info, err
}

func (l handshakes) Clone() credentials.TransportCredentials {
	return handshakes{l.TransportCredentials.Clone(), l.log}
}

// refuseUnknown answers calls of other methods, through logCalls.
func refuseUnknown(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "only Recover is served here")
}

func shorten(s string) string { return s[:min(len(s), maxLogged)] }

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return "unknown"
}
