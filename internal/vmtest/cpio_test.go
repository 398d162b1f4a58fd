package vmtest

import (
	"bytes"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestArchiveIsTheKernelsFormat(t *testing.T) {
	var out bytes.Buffer
	a := &archive{out: &out}
	require.NoError(t, a.add("a/b", 0o755, []byte("hello")))
	require.NoError(t, a.close())
	zero := strings.Repeat("0", 8)
	want := "070701" + "00000001" + "000081ed" + zero + zero + "00000001" + zero + "00000005" + strings.Repeat(zero, 4) + "00000004" + zero +
		"a/b\x00\x00\x00" + "hello\x00\x00\x00" +
		"070701" + "00000002" + "00008000" + zero + zero + "00000001" + zero + zero + strings.Repeat(zero, 4) + "0000000b" + zero +
		"TRAILER!!!\x00\x00\x00\x00"
	assert.Equal(t, want, out.String())
}

func TestArchiveIsReadByCpio(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, writeOverlay(&out, []File{
		{Path: "/usr/bin/tool", Content: []byte("#!/bin/sh\n"), Mode: 0o755},
		{Path: "/etc/plain", Content: []byte("text")},
		{Path: "/etc/link", Content: []byte("plain"), Mode: fs.ModeSymlink | 0o777},
	}))
	list := exec.CommandContext(t.Context(), "cpio", "-itv", "--quiet", "--numeric-uid-gid")
	list.Stdin, list.Env = &out, []string{"TZ=UTC", "LC_ALL=C"}
	listing, err := list.CombinedOutput()
	require.NoError(t, err, "%s", listing)
	var got []string
	for line := range strings.Lines(string(listing)) {
		field := strings.Fields(line)
		got = append(got, strings.Join(append(field[:1], field[8:]...), " "))
	}
	assert.Equal(t, []string{
		"drwxr-xr-x usr", "drwxr-xr-x usr/bin", "-rwxr-xr-x usr/bin/tool",
		"drwxr-xr-x etc", "-rw-r--r-- etc/plain", "lrwxrwxrwx etc/link -> plain",
	}, got)
}
