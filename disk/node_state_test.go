package disk

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

// goldenNodeState is a file as published releases write it.
const goldenNodeState = "{\n\t\"Role\": \"ControlPlane\",\n\t\"MeasurementSalt\": \"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=\"\n}"

func goldenSalt(t *testing.T) keys.MeasurementSalt {
	t.Helper()
	raw := make([]byte, keys.Size)
	for i := range raw {
		raw[i] = 0x40 + byte(i)
	}
	salt, err := keys.NewMeasurementSalt(raw)
	require.NoError(t, err)
	return salt
}

func TestNodeStateFile(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, WriteNodeState(root, RoleControlPlane, goldenSalt(t)))
	path := filepath.Join(root, "constellation/node_state.json")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, goldenNodeState, string(raw))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	assert.ErrorIs(t, WriteNodeState(root, RoleWorker, goldenSalt(t)), os.ErrExist)
	read, err := readNodeState(root)
	require.NoError(t, err)
	assert.Equal(t, goldenSalt(t).Bytes(), read.Bytes())
}

func TestParseNodeStateRefuses(t *testing.T) {
	const salt = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="
	for name, raw := range map[string]string{
		"empty":          "",
		"null":           "null",
		"array":          "[]",
		"truncated":      goldenNodeState[:40],
		"NUL bytes":      goldenNodeState + "\x00",
		"byte order":     "\ufeff" + goldenNodeState,
		"salt absent":    `{"Role":"Worker"}`,
		"salt empty":     `{"Role":"Worker","MeasurementSalt":""}`,
		"salt short":     `{"Role":"Worker","MeasurementSalt":"QEFC"}`,
		"salt no base64": `{"Role":"Worker","MeasurementSalt":"?"}`,
		"salt twice":     `{"Role":"Worker","MeasurementSalt":"` + salt + `","MeasurementSalt":"` + salt + `"}`,
		"salt by case":   `{"Role":"Worker","measurementSalt":"` + salt + `"}`,
		"role unknown":   `{"Role":"Admin","MeasurementSalt":"` + salt + `"}`,
		"role no string": `{"Role":1,"MeasurementSalt":"` + salt + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseNodeState([]byte(raw))
			require.Error(t, err)
			assert.Contains(t, err.Error(), nodeStatePath, "the error names the file")
		})
	}
}

func TestReadNodeStateOpensOnlyAPlainFile(t *testing.T) {
	for name, tc := range map[string]struct {
		place func(t *testing.T, dir, path string)
		want  error
	}{
		"missing":   {func(*testing.T, string, string) {}, os.ErrNotExist},
		"link":      {func(t *testing.T, _, path string) { require.NoError(t, os.Symlink("/dev/zero", path)) }, syscall.ELOOP},
		"FIFO":      {func(t *testing.T, _, path string) { require.NoError(t, syscall.Mkfifo(path, 0o600)) }, nil},
		"directory": {func(t *testing.T, _, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }, nil},
		"too large": {func(t *testing.T, _, path string) {
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			require.NoError(t, os.Truncate(path, 2<<30))
		}, nil},
		"link as directory": {func(t *testing.T, dir, path string) {
			elsewhere := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "node_state.json"), []byte(goldenNodeState), 0o600))
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.Symlink(elsewhere, dir))
		}, syscall.ELOOP},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, nodeStatePath)
			require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
			tc.place(t, filepath.Dir(path), path)
			_, err := readNodeState(root)
			require.Error(t, err)
			if tc.want == nil {
				var refusal *Refusal
				require.ErrorAs(t, err, &refusal)
				return
			}
			assert.ErrorIs(t, err, tc.want)
		})
	}
}

// TestOnlyALostSaltIsOne: what is missing elsewhere is no reason to wipe a disk.
func TestOnlyALostSaltIsOne(t *testing.T) {
	_, err := ReadSalt(filepath.Join(t.TempDir(), "no mapping"), filepath.Join(t.TempDir(), "at"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.NotContains(t, err.Error(), "wipe")
	_, err = readNodeState(t.TempDir())
	assert.ErrorContains(t, explain(err), "not the cluster's salt")
	assert.ErrorIs(t, err, fs.ErrNotExist)
}
