package vmtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFindImage(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), nil, 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "package", "inner"), 0o700))
	t.Chdir(filepath.Join(root, "package", "inner"))

	_, err := FindImage()
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "make image")

	dir := filepath.Join(root, "build", "image")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	want := Image{Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd.zst")}
	require.NoError(t, os.WriteFile(want.Kernel, nil, 0o600))
	require.NoError(t, os.WriteFile(want.Initrd, nil, 0o600))
	got, err := FindImage()
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestNewDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, NewDisk(path, 1<<20))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, info.Size())
	assert.ErrorIs(t, NewDisk(path, 1), fs.ErrExist, "a disk with data is never replaced")
}
