package disk

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// attachLoop makes a file a block device, until the test ends. It skips the test
// where that is not allowed: it takes root, and loop devices.
func attachLoop(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device: %v, %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		out, err := exec.Command("losetup", "--detach", loop).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return loop
}
