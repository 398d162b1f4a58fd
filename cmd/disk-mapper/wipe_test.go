package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"disk-mapper/disk"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWipe: a disk is wiped only by who gives its name again, and is new then.
func TestWipe(t *testing.T) {
	joined := func([]byte) {}
	tail := func(b []byte) { clear(b); b[len(b)-1] = 1 }
	for name, tc := range map[string]struct {
		change        func([]byte)
		answer, flag  string // DISK is the name of the disk
		status        int
		says, reasons string
	}{
		"the name again":           {joined, "DISK\n", "", 0, "joined", ""},
		"the name, no end":         {joined, "DISK", "", 0, "joined", ""},
		"by the flag":              {joined, "", "DISK", 0, "uuid", ""},
		"zeros before data":        {tail, "DISK\n", "", 0, "damaged", ""},
		"yes":                      {joined, "yes\n", "", 2, "joined", "nothing was written"},
		"nothing":                  {joined, "", "", 2, "joined", "nothing was written"},
		"another name":             {joined, "DISK2\n", "", 2, "joined", "nothing was written"},
		"another name by the flag": {joined, "DISK\n", "/dev/sdz", 2, "joined", "/dev/sdz"},
	} {
		t.Run(name, func(t *testing.T) {
			path := realDisk(t, "disk-mapper-joined", tc.change)
			require.NoError(t, os.Chmod(path, 0o600))
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			args := []string{path}
			if tc.flag != "" {
				args = []string{"-yes-wipe", strings.ReplaceAll(tc.flag, "DISK", path), path}
			}
			var stdout, stderr bytes.Buffer
			status := wipe(t.Context(), args, strings.NewReader(strings.ReplaceAll(tc.answer, "DISK", path)), &stdout, &stderr)
			assert.Equal(t, tc.status, status, stderr.String())
			assert.Contains(t, stdout.String(), tc.says)
			assert.Contains(t, stderr.String(), tc.reasons)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			if status != 0 {
				assert.True(t, bytes.Equal(before, after), "the disk was written")
				return
			}
			assert.True(t, bytes.Equal(make([]byte, len(before)), after), "zeros to the last byte")
			assert.Contains(t, stdout.String(), "64 of 64 MiB")
			assert.True(t, strings.HasSuffix(stdout.String(), path+": blank\n"))
			d, err := disk.Open(t.Context(), path)
			require.NoError(t, err)
			assert.Equal(t, disk.Blank, d.State())
		})
	}
}

// TestWipeOfABlankDisk: a disk is blank if it is zeros where it was looked at. What is
// left elsewhere, as by a wipe that was interrupted, is wiped all the same.
func TestWipeOfABlankDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(64<<20))
	unseen := int64(0)
	for at := int64(30 << 20); unseen == 0; at += 4096 {
		_, err := f.WriteAt([]byte("left"), at)
		require.NoError(t, err)
		if report, err := disk.Inspect(t.Context(), path); err == nil && report.Refusal == nil {
			unseen = at
			break
		}
		_, err = f.WriteAt(make([]byte, 4), at)
		require.NoError(t, err)
	}
	var stdout, stderr bytes.Buffer
	assert.Equal(t, exitUsage, wipe(t.Context(), []string{path}, strings.NewReader("\n"), &stdout, &stderr), "it asks")
	assert.Equal(t, 0, wipe(t.Context(), []string{"-yes-wipe", path, path}, strings.NewReader(""), &stdout, &stderr))
	left := make([]byte, 4)
	_, err = f.ReadAt(left, unseen)
	require.NoError(t, err)
	assert.Equal(t, make([]byte, 4), left)
}

// TestWipeEndsWhileItAsks: an interrupt is not held up by a terminal.
func TestWipeEndsWhileItAsks(t *testing.T) {
	silent, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	asked := writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "Type its name") {
			cancel()
		}
		return len(b), nil
	})
	var stderr bytes.Buffer
	path := realDisk(t, "disk-mapper-joined", func([]byte) {})
	assert.Equal(t, exitUsage, wipe(ctx, []string{path}, silent, asked, &stderr))
	assert.Contains(t, stderr.String(), "nothing was written")
}

// TestWipeOfWhatWasConfirmed: what changes while it asks is not wiped.
func TestWipeOfWhatWasConfirmed(t *testing.T) {
	path := realDisk(t, "disk-mapper-joined", func([]byte) {})
	require.NoError(t, os.Chmod(path, 0o600))
	content := bytes.Repeat([]byte("else"), 16<<20)
	asked := writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "Type its name") {
			require.NoError(t, os.WriteFile(path+"-2", content, 0o600))
			require.NoError(t, os.Rename(path+"-2", path))
		}
		return len(b), nil
	})
	var stderr bytes.Buffer
	assert.Equal(t, exitFailed, wipe(t.Context(), []string{path}, strings.NewReader(path), asked, &stderr))
	assert.Contains(t, stderr.String(), "nothing was written: "+path+" changed since it was judged")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, after))
}

// TestWipeOfAnUnreadableDisk: it says so, and asks as ever.
func TestWipeOfAnUnreadableDisk(t *testing.T) {
	path := realDisk(t, "disk-mapper-joined", func([]byte) {})
	require.NoError(t, os.Chmod(path, 0o600))
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device: %v, %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	defer func() { assert.NoError(t, exec.Command("losetup", "--detach", loop).Run()) }()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	zeros := make([]byte, len(content))
	for name, tc := range map[string]struct {
		answer, says string
		mended       bool
		status       int
		left         []byte
	}{
		"not confirmed":             {"", "nothing was written", true, exitUsage, content},
		"still unreadable":          {loop, "at byte 16777216", false, exitFailed, zeros[:16<<20]},
		"readable once it is wiped": {loop, "", true, 0, zeros},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, content, 0o600))
			require.NoError(t, os.Truncate(path, 16<<20)) // what the file has lost, the device cannot read
			var stdout, stderr bytes.Buffer
			asked := writerFunc(func(b []byte) (int, error) {
				if tc.mended && strings.Contains(string(b), "Type its name") {
					require.NoError(t, os.WriteFile(path, content, 0o600))
				}
				return stdout.Write(b)
			})
			assert.Equal(t, tc.status, wipe(t.Context(), []string{loop}, strings.NewReader(tc.answer), asked, &stderr))
			assert.Contains(t, stdout.String(), "nothing says what is on it: reading "+loop+": at byte 16777216: read "+loop)
			assert.Contains(t, stderr.String(), tc.says)
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(tc.left, left))
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestWipeWithoutADisk(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"missing": {[]string{filepath.Join(t.TempDir(), "none")}, 1, "no such file"},
		"none":    {nil, 2, "disk-mapper wipe [-yes-wipe DEVICE] DEVICE"},
		"two":     {[]string{"a", "b"}, 2, "-yes-wipe"},
		"help":    {[]string{"-help"}, 0, "Nothing brings back what was there"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			assert.Equal(t, tc.status, wipe(t.Context(), tc.args, strings.NewReader(""), &stdout, &stderr))
			assert.Contains(t, stderr.String(), tc.says)
		})
	}
}
