package vmtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGuestName(t *testing.T) {
	tests := map[string]struct {
		path, name string
		wantErr    error
	}{
		"file":                      {"/etc/hosts", "etc/hosts", nil},
		"file at the top":           {"/init", "init", nil},
		"relative":                  {"etc/hosts", "", ErrGuestPath},
		"unclean":                   {"/etc/../bin/sh", "", ErrGuestPath},
		"root":                      {"/", "", ErrGuestPath},
		"empty":                     {"", "", ErrGuestPath},
		"below the link /bin":       {"/bin/tool", "", ErrGuestPath},
		"below the link /lib":       {"/lib/systemd/system/x.service", "", ErrGuestPath},
		"only named like a link":    {"/binary/tool", "binary/tool", nil},
		"below what the link is to": {"/usr/bin/tool", "usr/bin/tool", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := guestName(tc.path)
			assert.ErrorIs(t, err, tc.wantErr)
			assert.Equal(t, tc.name, got)
		})
	}
}

func TestFileMode(t *testing.T) {
	host := filepath.Join(t.TempDir(), "tool")
	require.NoError(t, os.WriteFile(host, []byte("content"), 0o700))
	tests := map[string]struct {
		file File
		mode fs.FileMode
	}{
		"content, default":   {File{Content: []byte("content")}, 0o644},
		"content, given":     {File{Content: []byte("content"), Mode: 0o600}, 0o600},
		"host file, its own": {File{Host: host}, 0o700},
		"host file, given":   {File{Host: host, Mode: 0o755}, 0o755},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			content, mode, err := tc.file.read()
			require.NoError(t, err)
			assert.Equal(t, "content", string(content))
			assert.Equal(t, tc.mode, mode)
		})
	}
}

func TestOverlayStartsWhereTheKernelLooks(t *testing.T) {
	dir := t.TempDir()
	base, out := filepath.Join(dir, "base"), filepath.Join(dir, "out")
	require.NoError(t, os.WriteFile(base, []byte("12345"), 0o600))
	require.NoError(t, writeInitrd(out, base, []File{{Path: "/file"}}))
	initrd, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, "12345\x00\x00\x00070701", string(initrd[:14]))
}

func TestWriteInitrdFails(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	require.NoError(t, os.WriteFile(base, nil, 0o600))
	tests := map[string]struct {
		base    string
		file    File
		wantErr error
	}{
		"no base image":      {base + "-absent", File{Path: "/file"}, fs.ErrNotExist},
		"host file is gone":  {base, File{Path: "/file", Host: base + "-absent"}, fs.ErrNotExist},
		"not a path":         {base, File{Path: "file"}, ErrGuestPath},
		"replaces the /sbin": {base, File{Path: "/sbin/init"}, ErrGuestPath},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			assert.ErrorIs(t, writeInitrd(filepath.Join(t.TempDir(), "out"), tc.base, []File{tc.file}), tc.wantErr)
		})
	}
}
