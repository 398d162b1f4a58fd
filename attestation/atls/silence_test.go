package atls

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/grpclog"
)

// asStranger makes the test binary a process in which gRPC has something to say.
const asStranger = "TEST_GRPC_SPEAKS"

// TestGRPCIsSilent: what gRPC says of its own accord reaches no standard error, at
// whatever level it says it and whatever the environment asks for.
func TestGRPCIsSilent(t *testing.T) {
	if os.Getenv(asStranger) != "" {
		grpclog.Info("said")
		grpclog.Warning("said")
		grpclog.Error("said")
		grpclog.Component("transport").Errorf("said")
		return
	}
	for _, level := range []string{"", "error", "info"} {
		process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGRPCIsSilent$")
		process.Env = append(os.Environ(), asStranger+"=1", "GRPC_GO_LOG_SEVERITY_LEVEL="+level, "GRPC_GO_LOG_VERBOSITY_LEVEL=99")
		out, err := process.CombinedOutput()
		require.NoError(t, err)
		assert.NotContains(t, string(out), "said", "level %q", level)
	}
}
