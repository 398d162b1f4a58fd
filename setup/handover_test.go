package setup

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHandoverFiles holds every file against mode, owner and content of the
// published format.
func TestHandoverFiles(t *testing.T) {
	h := Handover{Root: memoryRoot(t)}
	key := keys.RandomDiskKey()
	require.NoError(t, h.SaveKey(key))
	require.NoError(t, h.SaveUnit("/dev/vdb"))
	golden, err := os.ReadFile("testdata/systemd-cryptsetup@state.service")
	require.NoError(t, err)

	for path, want := range map[string]struct {
		mode    fs.FileMode
		content []byte
	}{
		"run/cryptsetup-keys.d":                               {fs.ModeDir | 0o700, nil},
		"run/cryptsetup-keys.d/state.key":                     {0o400, key.Bytes()},
		"run/systemd/system/systemd-cryptsetup@state.service": {0o444, golden},
	} {
		info, err := os.Stat(filepath.Join(h.Root, path))
		require.NoError(t, err)
		assert.Equal(t, want.mode, info.Mode(), path)
		assert.EqualValues(t, os.Getuid(), info.Sys().(*syscall.Stat_t).Uid, path)
		if want.content != nil {
			raw, err := os.ReadFile(filepath.Join(h.Root, path))
			require.NoError(t, err)
			assert.Equal(t, string(want.content), string(raw), path)
		}
	}
	for _, wants := range []string{"dev-mapper-state.device.requires", "cryptsetup.target.requires"} {
		link := filepath.Join(h.Root, "run/systemd/system", wants, "systemd-cryptsetup@state.service")
		raw, err := os.ReadFile(link)
		require.NoError(t, err, "the link must lead to the unit")
		assert.Equal(t, string(golden), string(raw))
	}
}

func TestUnitNamesTheDevice(t *testing.T) {
	assert.Contains(t, unit("/dev/nvme1n1"), "BindsTo=dev-nvme1n1.device\n")
	assert.Contains(t, unit("/dev/dm-0"), `BindsTo=dev-dm\x2d0.device`+"\n", "as systemd-escape")
}
