package fairlistener

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// ServerOptions bound what a peer may take of a gRPC server. The library's defaults are
// made for trusted peers: no limit on streams, connections and their age. maxMessage is
// the longest message that the server takes, in bytes.
func ServerOptions(maxMessage int) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(MaxHeaders),
		grpc.MaxConcurrentStreams(MaxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     maxIdle,
			MaxConnectionAge:      maxAge,
			MaxConnectionAgeGrace: ageGrace,
			Time:                  pingAfter,
			Timeout:               pingTimeout,
		}),
	}
}
