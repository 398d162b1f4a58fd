package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMasterSecretCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "constellation-mastersecret.json")
	var out, notes bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"mastersecret", "create", "-C", dir}, &out, &notes))

	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Regexp(t, regexp.MustCompile(`\A\{\n\t"key": "[A-Za-z0-9+/]{43}=",\n\t"salt": "[A-Za-z0-9+/]{43}="\n\}\z`), string(raw))
	_, err = keys.ParseMasterSecret(raw)
	require.NoError(t, err)

	assert.Equal(t, "Your master secret was written to "+path+".\nKeep it safe, and keep a copy elsewhere: without it the cluster cannot be recovered.\n", out.String())
	assert.Empty(t, notes.String())
	requireNoSecret(t, raw, out.String())
}

// requireNoSecret searches text for both parts of a master secret file.
func requireNoSecret(t *testing.T, file []byte, text string) {
	t.Helper()
	var parts map[string]string
	require.NoError(t, json.Unmarshal(file, &parts))
	for name, value := range parts {
		require.NotContains(t, text, value, name)
	}
}

func TestMasterSecretIsDrawn(t *testing.T) {
	var a, b struct{ Key, Salt []byte }
	require.NoError(t, json.Unmarshal(newMasterSecret(), &a))
	require.NoError(t, json.Unmarshal(newMasterSecret(), &b))
	seen := map[string]bool{}
	for _, part := range [][]byte{a.Key, a.Salt, b.Key, b.Salt} {
		assert.Len(t, part, 32)
		assert.False(t, seen[string(part)])
		seen[string(part)] = true
	}
}

func TestMasterSecretNeverOverwritten(t *testing.T) {
	for name, occupy := range map[string]func(path string) error{
		"file":          func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"empty file":    func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"dangling link": func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "nowhere"), path) },
		"link to a file": func(path string) error {
			target := filepath.Join(filepath.Dir(path), "target")
			return errors.Join(os.WriteFile(target, []byte("precious"), 0o600), os.Symlink(target, path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret.json")
			require.NoError(t, occupy(path))
			before, _ := os.ReadFile(path)
			var out, notes bytes.Buffer
			err := run(t.Context(), []string{"mastersecret", "create", "--master-secret", path}, &out, &notes)
			require.ErrorContains(t, err, "never overwritten")
			assert.Empty(t, out.String())
			after, _ := os.ReadFile(path)
			assert.Equal(t, before, after)
			assert.NoFileExists(t, filepath.Join(filepath.Dir(path), "nowhere"))
		})
	}
}
