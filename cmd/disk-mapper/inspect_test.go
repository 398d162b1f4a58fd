package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

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
		"blank":         {realDisk(t, "disk-mapper-prepared", func(b []byte) { clear(b) }), 4, "blank", []string{"The daemon formats it"}},
		"blank, noise":  {realDisk(t, "disk-mapper-prepared", func(b []byte) { clear(b); b[77] = 7 }), 4, "blank", []string{"require-blank"}},
		"damaged":       {realDisk(t, "disk-mapper-joined", func(b []byte) { b[5000] ^= 1 }), 5, "refused", []string{"does not touch", "damaged", "BAD  primary header checksum", "ok   secondary header checksum"}},
		"foreign":       {realDisk(t, "disk-mapper-joined", func(b []byte) { clear(b); copy(b[1080:], "\x53\xef") }), 5, "refused", []string{"foreign", "ext4", "wipe all of this one"}},
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
		"no argument":  {nil, 2, "disk-mapper inspect [-json] DEVICE|FILE"},
		"two":          {[]string{"a", "b"}, 2, "DEVICE|FILE"},
		"unknown flag": {[]string{"-write", "a"}, 2, "not defined: -write"},
		"help":         {[]string{"-help"}, 0, "Exit status: 0 joined, 3 prepared, 4 blank, 5 refused; 1 unreadable, 2 usage."},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			assert.Equal(t, tc.status, run(t.Context(), append([]string{"inspect"}, tc.args...), env(nil), &stdout, &stderr))
			assert.Contains(t, stderr.String(), tc.says)
			assert.Empty(t, stdout.String())
		})
	}
}

// TestRequireBlank: only a disk of zeros is formatted then.
func TestRequireBlank(t *testing.T) {
	noise := realDisk(t, "disk-mapper-prepared", func(b []byte) { clear(b); b[77] = 7 })
	zeros := realDisk(t, "disk-mapper-prepared", func(b []byte) { clear(b) })
	for name, tc := range map[string]struct {
		path    string
		strict  bool
		refused bool
	}{
		"noise":         {noise, false, false},
		"noise, strict": {noise, true, true},
		"zeros, strict": {zeros, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := openStateDisk(t.Context(), tc.path)
			require.NoError(t, err)
			err = options{requireBlank: tc.strict}.admit(d.Device)
			assert.Equal(t, tc.refused, err != nil, "%v", err)
			if tc.refused {
				assert.ErrorContains(t, err, "is not all zeros (its start is not) and was left untouched: constel.state-disk=require-blank")
			}
		})
	}
}
