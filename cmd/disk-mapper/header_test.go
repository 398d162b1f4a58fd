package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const masterSecret = `{"key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","salt":"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="}`

// TestHeader walks through what an operator does, with a header that a real daemon wrote.
func TestHeader(t *testing.T) {
	disk := realDisk(t, "disk-mapper-joined", func(b []byte) { b[40<<20] = 1 }) // as if there were data
	require.NoError(t, os.Chmod(disk, 0o600))
	dir := t.TempDir()
	file, secret, cryptsetups := filepath.Join(dir, "kept"), filepath.Join(dir, "secret"), filepath.Join(dir, "luks")
	require.NoError(t, os.WriteFile(secret, []byte(masterSecret), 0o600))
	other := realDisk(t, "cryptsetup-2.6.1-token-true", func([]byte) {})
	require.NoError(t, os.Chmod(other, 0o600))
	before, err := os.ReadFile(disk)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cryptsetups, before[:16<<20], 0o600))

	says := func(want int, text string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		assert.Equal(t, want, run(t.Context(), args, env(nil), &out, &out), "%v: %s", args, out.String())
		assert.Contains(t, out.String(), text, "%v", args)
	}
	says(2, "disk-mapper header backup DISK FILE", "header")
	says(2, "disk-mapper header backup DISK FILE", "header", "erase", disk)
	says(0, "Exit status: 0 done", "header", "-help")
	says(0, "Exit status: 0 done", "header", "backup", "-help")
	says(2, "disk-mapper header", "header", "restore", disk)
	says(2, "not defined", "header", "restore", "-force", file, disk)

	says(0, "header of disk ", "header", "backup", disk, file)
	says(0, "The keyslot in it is nothing but zeros", "header", "check", file) // fixtures have none
	says(1, "file exists", "header", "backup", disk, file)
	says(0, disk+" has this header", "header", "check", file, disk)
	says(1, "that of another disk", "header", "check", file, other)
	says(1, "does not open disk", "header", "check", "-master-secret", secret, file)
	says(1, "not a header backup", "header", "check", secret)
	says(6, "kept: header backup\nThis is no disk", "inspect", file)
	says(6, "kept by cryptsetup luksHeaderBackup", "inspect", cryptsetups)
	says(6, `"verdict": "header backup"`, "inspect", "-json", file)
	says(7, "master secret  does not open it", "inspect", "-master-secret", secret, file)
	says(7, "master secret  does not open it", "inspect", "-master-secret", secret, disk)
	says(1, "no such file", "inspect", "-master-secret", secret+"s", disk)

	says(1, "that of another disk", "header", "restore", "-replace-newer-header", "-replace-foreign-data", file, other)
	lost := bytes.Clone(before)
	clear(lost[:17<<20])
	require.NoError(t, os.WriteFile(disk, lost, 0o600))
	says(5, "disk-mapper header restore", "inspect", disk)
	says(0, "dm-integrity's journal was damaged and is empty now", "header", "restore", file, disk)
	says(0, other+": has the header of disk ", "header", "restore", "-replace-header-of-another-disk", file, other)
	says(0, "joined", "inspect", other)
	require.NoError(t, os.WriteFile(other, lost, 0o600))
	says(0, "Nothing on the disk said whose header it had", "header", "restore", file, other)
	says(0, "joined", "inspect", disk)
	after, err := os.ReadFile(disk)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(before[:16<<20+4096], after[:16<<20+4096]))
	damaged := bytes.Clone(before[:16<<20])
	damaged[200] ^= 1
	require.NoError(t, os.WriteFile(cryptsetups, damaged, 0o600))
	says(1, "header backup "+cryptsetups+": primary header", "inspect", cryptsetups)
}
