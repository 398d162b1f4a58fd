package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"disk-mapper/disk"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// realDisk is a file with the metadata of a disk of 64 MiB that a real
// cryptsetup wrote; change works on it.
func realDisk(t *testing.T, name string, change func([]byte)) string {
	t.Helper()
	packed, err := os.Open(filepath.Join("../../disk/testdata/headers", name+".hdr.gz"))
	require.NoError(t, err)
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	require.NoError(t, err)
	raw, err := io.ReadAll(z)
	require.NoError(t, err)
	content := make([]byte, 64<<20)
	copy(content, raw[:32<<10])
	copy(content[16<<20:], raw[32<<10:])
	change(content)
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, content, 0o400))
	return path
}

// TestInspect: the exit status, and what an operator and a script see, for each
// state.
func TestInspect(t *testing.T) {
	same := func([]byte) {}
	for name, tc := range map[string]struct {
		disk    string
		status  int
		verdict string
		text    []string
	}{
		"joined":        {realDisk(t, "cryptsetup-2.6.1-token-true", same), 0, "joined", []string{"never formats it", "origin  Constellation v2.10 to v2.24", "argon2id"}},
		"joined, old":   {realDisk(t, "cryptsetup-2.6.1-passes-9", same), 0, "joined", []string{"origin  Constellation v2.0 to v2.9", "keyslot kdf time"}},
		"prepared":      {realDisk(t, "disk-mapper-prepared", same), 3, "prepared", []string{"The daemon formats it", "origin  disk-mapper, format"}},
		"blank":         {realDisk(t, "disk-mapper-prepared", func(b []byte) { clear(b) }), 4, "blank", []string{"zeros", "The daemon formats it"}},
		"noise":         {realDisk(t, "disk-mapper-prepared", func(b []byte) { clear(b); b[77], b[1] = 7, 1 }), 5, "refused", []string{"found  something else at byte 1", "foreign", "format-nonzero"}},
		"one byte":      {realDisk(t, "disk-mapper-prepared", func(b []byte) { clear(b); b[7777] = 7 }), 5, "refused", []string{"found  something else at byte 7777", "damaged"}},
		"damaged":       {realDisk(t, "disk-mapper-joined", func(b []byte) { b[5000] ^= 1 }), 5, "refused", []string{"does not touch", "damaged", "BAD  primary header checksum", "ok   secondary header checksum"}},
		"foreign":       {realDisk(t, "disk-mapper-joined", func(b []byte) { clear(b); copy(b[1080:], "\x53\xef") }), 5, "refused", []string{"foreign", "ext4", "disk-mapper wipe"}},
		"tampered":      {realDisk(t, "disk-mapper-joined", func(b []byte) { b[16<<20+24] = 2 }), 5, "refused", []string{"tampered", "integrity superblock flags", "found  0x2"}},
		"not supported": {realDisk(t, "disk-mapper-joined", func(b []byte) { clear(b); copy(b, "LUKS\xba\xbe\x00\x01") }), 5, "refused", []string{"unsupported", "use the release"}},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := os.ReadFile(tc.disk)
			require.NoError(t, err)
			var text, object, stderr bytes.Buffer
			assert.Equal(t, tc.status, run(t.Context(), []string{"inspect", tc.disk}, env(nil), &text, &stderr))
			for _, want := range append(tc.text, tc.disk+": "+tc.verdict) {
				assert.Contains(t, text.String(), want)
			}
			assert.Equal(t, tc.status, run(t.Context(), []string{"inspect", "-json", tc.disk}, env(nil), &object, &stderr))
			var v struct {
				Verdict  string
				Refusal  *struct{ Field, Found, Want, Meaning string }
				Findings []struct{ Field string }
			}
			require.NoError(t, json.Unmarshal(object.Bytes(), &v))
			assert.Equal(t, tc.verdict, v.Verdict)
			assert.NotEmpty(t, v.Findings)
			assert.Equal(t, tc.verdict == "refused", v.Refusal != nil)
			assert.Empty(t, stderr.String())
			after, err := os.ReadFile(tc.disk)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(before, after), "inspect wrote to the disk")
		})
	}
}

func TestInspectWithoutADisk(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"missing":      {[]string{"/no/such/disk"}, 1, "no such file"},
		"a directory":  {[]string{t.TempDir()}, 1, "is a directory"},
		"no argument":  {nil, 2, "disk-mapper inspect [-json] [-master-secret FILE] DEVICE|FILE"},
		"two":          {[]string{"a", "b"}, 2, "DEVICE|FILE"},
		"unknown flag": {[]string{"-write", "a"}, 2, "not defined: -write"},
		"help":         {[]string{"-help"}, 0, "Exit status: 0 joined, 3 prepared, 4 blank, 5 refused, 6 a header backup; 7 the master secret does not"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			assert.Equal(t, tc.status, run(t.Context(), append([]string{"inspect"}, tc.args...), env(nil), &stdout, &stderr))
			assert.Contains(t, stderr.String(), tc.says)
			assert.Empty(t, stdout.String())
		})
	}
}

// TestOnlyZerosAreNew: what is not zeros is refused, and formatted only with
// format-nonzero, if nothing recognises it.
func TestOnlyZerosAreNew(t *testing.T) {
	const said = "constel.state-disk="
	fill := func(change func(b []byte)) string {
		return realDisk(t, "disk-mapper-prepared", func(b []byte) { clear(b); change(b) })
	}
	zeros := fill(func([]byte) {})
	noise := fill(func(b []byte) { copy(b, strings.Repeat("noise, ", len(b)/7)) })
	wiped := fill(func(b []byte) { copy(b[20<<20:], "data of somebody") })
	xfs := fill(func(b []byte) { copy(b, "XFSB") })
	for name, tc := range map[string]struct {
		path, words string
		want        disk.State
		field       string
	}{
		"zeros":                         {zeros, "", disk.Blank, ""},
		"zeros, strict":                 {zeros, said + "require-blank", disk.Blank, ""},
		"zeros, dirty disks":            {zeros, said + "format-nonzero", disk.Blank, ""},
		"noise":                         {noise, "", 0, "zeros"},
		"noise, strict":                 {noise, said + "require-blank", 0, "zeros"},
		"noise, dirty disks":            {noise, said + "format-nonzero", disk.Unrecognised, ""},
		"zeros, then data":              {wiped, "", 0, "zeros"},
		"zeros, then data, dirty disks": {wiped, said + "format-nonzero", 0, "zeros"},
		"XFS, dirty disks":              {xfs, said + "format-nonzero", 0, "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseOptions([]string{"-csp=qemu"}, env(nil), tc.words, io.Discard)
			require.NoError(t, err)
			d, err := openUnusedDisk(t.Context(), tc.path, o.openDisk())
			if tc.field == "" {
				require.NoError(t, err)
				assert.Equal(t, tc.want, d.State())
				return
			}
			var refusal *disk.Refusal
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, tc.field, refusal.Field)
			assert.ErrorContains(t, err, "was left untouched")
		})
	}
}
