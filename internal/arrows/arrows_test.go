// Package arrows pins who may import whom, so that a trust boundary stays a
// package boundary.
package arrows

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "disk-mapper/"

// allowed lists what of ours each package may import. A package that is not
// listed fails the test: decide, then list it. All may import everywhere.
var allowed = map[string][]string{
	"setup":                    {"internal/keys"},
	"disk":                     {"internal/keys", "internal/exactjson", "internal/printable"},
	"recoveryserver":           {"proto/recoverproto", "attestation", "attestation/atls", "internal/fairlistener", "internal/keys", "internal/sshproof"},
	"rejoinclient":             {"proto/joinproto", "attestation", "attestation/atls", "internal/keys", "internal/cloud", "internal/dial", "internal/fairlistener"},
	"attestation":              {},
	"attestation/atls":         {"attestation"},
	"attestation/vtpm":         {"attestation"},
	"attestation/instance":     {},
	"attestation/issue":        {"attestation", "attestation/instance", "attestation/vtpm"},
	"attestation/gce":          {"attestation/instance"},
	"attestation/verify":       {"attestation", "attestation/instance", "internal/exactjson", "internal/fairlistener"},
	"internal/cloud":           {},
	"internal/cloud/aws":       {"internal/cloud"},
	"internal/cloud/azure":     {"internal/cloud"},
	"internal/cloud/fake":      {"internal/cloud"}, // for tests: no program may import it
	"internal/cloud/gcp":       {"internal/cloud"},
	"internal/cloud/openstack": {"internal/cloud"},
	"internal/cloud/qemu":      {"internal/cloud"},
	"internal/keys":            {},
	"internal/dial":            {},
	"internal/exactjson":       {},
	"internal/fairlistener":    {"attestation", "attestation/atls"},
	"internal/faults":          {"attestation"}, // hostile: no program may import it
	"internal/kernelline":      {},
	"internal/logging":         {},
	"internal/printable":       {},
	"internal/argument":        {},
	"internal/sshproof":        {},
	"internal/joinservice":     {"proto/joinproto", "attestation", "attestation/atls", "attestation/verify", "internal/fairlistener", "internal/keys"},
	"proto/joinproto":          {},
	"proto/recoverproto":       {},
	"cmd/disk-mapper":          {"setup", "disk", "recoveryserver", "rejoinclient", "attestation", "attestation/gce", "attestation/issue", "attestation/vtpm", "internal/cloud", "internal/cloud/aws", "internal/cloud/azure", "internal/cloud/gcp", "internal/cloud/openstack", "internal/cloud/qemu", "internal/kernelline", "internal/keys", "internal/logging", "internal/sshproof", "proto/joinproto", "attestation/atls", "attestation/verify"},
	"cmd/constellation":        {"attestation", "attestation/atls", "attestation/gce", "internal/cloud", "internal/dial", "attestation/verify", "internal/keys", "internal/sshproof", "proto/recoverproto"},
	"cmd/joinservice":          {"attestation", "attestation/gce", "attestation/issue", "internal/cloud", "attestation/verify", "internal/fairlistener", "internal/joinservice", "internal/keys", "internal/logging", "attestation/atls", "attestation/vtpm"},
	"internal/vmtest":          {},
	"internal/vmtest/cluster":  {"attestation", "internal/keys", "internal/vmtest", "internal/vmtest/metadata", "internal/cloud"},
	"docs":                     {},
	"internal/arrows":          {},
	"internal/vmtest/nbd":      {},
	"internal/vmtest/metadata": {"internal/cloud"},
	"image/metadata":           {"internal/vmtest/metadata"},
	"image/demo":               {"attestation", "internal/keys", "internal/vmtest", "internal/vmtest/cluster"},
}

// forCommands is for what command lines have in common.
var forCommands = []string{"internal/argument"}

type goPackage struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

// everywhere is for the one place where somebody else's text becomes printable.
var everywhere = []string{"internal/printable"}

func list(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,CgoFiles", module+"...").Output()
	require.NoError(t, err)
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	all := list(t)
	require.NotEmpty(t, all)
	for _, p := range all {
		name := strings.TrimPrefix(p.ImportPath, module)
		may, listed := allowed[name]
		if strings.HasPrefix(name, "cmd/") {
			may = slices.Concat(may, forCommands)
		}
		assert.True(t, listed, "%s is not listed", name)
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, module); ok {
				assert.True(t, slices.Contains(may, ours) || slices.Contains(everywhere, ours), "%s must not import %s", name, ours)
			}
		}
	}
}

// The binding of libcryptsetup is cgo: whoever imports it cannot be built
// without a C compiler.
func TestOnlyDiskNeedsCgo(t *testing.T) {
	for _, p := range list(t) {
		needs := len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "github.com/martinjungblut/go-cryptsetup")
		assert.Equal(t, p.ImportPath == module+"disk", needs, "%s", p.ImportPath)
	}
}

// gRPC writes lines of its own about its peers, as many as they want, unless
// attestation/atls is there.
func TestWhoSpeaksGRPCSilencesIt(t *testing.T) {
	for _, p := range list(t) {
		if !slices.Contains(p.Imports, "google.golang.org/grpc") || strings.HasPrefix(p.ImportPath, module+"proto/") {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", p.ImportPath).Output()
		require.NoError(t, err)
		assert.Contains(t, strings.Fields(string(out)), module+"attestation/atls", p.ImportPath)
	}
}
