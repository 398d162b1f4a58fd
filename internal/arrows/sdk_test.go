package arrows

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sdks are the paths of the platforms' SDKs, by the package that imports them. It
// is alone in that.
var sdks = map[string][]string{
	"internal/cloud/aws":       {"github.com/aws/"},
	"internal/cloud/azure":     {"github.com/Azure/"},
	"internal/cloud/gcp":       {"cloud.google.com/", "google.golang.org/api/"},
	"internal/cloud/openstack": {"github.com/gophercloud/"},
}

func isSDK(path string) bool {
	for _, prefixes := range sdks {
		if hasPrefix(path, prefixes) {
			return true
		}
	}
	return false
}

func hasPrefix(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

func TestEachProviderHasItsSDK(t *testing.T) {
	used := map[string]bool{}
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if isSDK(imported) {
				assert.True(t, hasPrefix(imported, sdks[name]), "%s must not import %s", name, imported)
				used[name] = true
			}
		}
	}
	for name := range sdks {
		assert.True(t, used[name], "%s imports no SDK any more", name)
	}
}

// TestSDKsCanBeLeftOut: they come into the daemon through the files with build
// tags alone, and never into the other programs or into these packages.
func TestSDKsCanBeLeftOut(t *testing.T) {
	var tags []string
	for name := range sdks {
		tags = append(tags, "no_"+strings.TrimPrefix(name, "internal/cloud/"))
	}
	assert.True(t, slices.ContainsFunc(dependencies(t, "", "cmd/disk-mapper"), isSDK))
	without := dependencies(t, strings.Join(tags, ","), "cmd/disk-mapper")
	without = append(without, dependencies(t, "", "rejoinclient", "setup", "disk", "recoveryserver", "cmd/joinservice", "cmd/constellation")...)
	for _, path := range without {
		assert.False(t, isSDK(path), path)
	}
}

func dependencies(t *testing.T, tags string, packages ...string) []string {
	t.Helper()
	arguments := []string{"list", "-deps", "-tags", tags}
	for _, p := range packages {
		arguments = append(arguments, module+p)
	}
	out, err := exec.CommandContext(t.Context(), "go", arguments...).Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}
