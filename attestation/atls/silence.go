package atls

import (
	"io"

	"google.golang.org/grpc/grpclog"
)

// Every gRPC connection of every program here goes through this package's
// credentials, to peers that may be anybody. gRPC writes lines of its own to the
// standard error about what such peers do, a line for each frame that it does not
// like; so a peer would decide how many. What matters of it is in the errors of the
// calls, and their callers log it within bounds.
func init() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}
