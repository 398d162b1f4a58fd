package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const tib = int64(1) << 40

func mkfsProgram(t *testing.T) mke2fs {
	t.Helper()
	m, err := findMke2fs()
	require.NoError(t, err)
	return m
}

// sparse is a file of a size that holds nothing.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	return path
}

// TestMkfs has mke2fs make file systems as new disks get them, in files: with the
// numbers of a large file system, whatever the first region, and with all features
// that growing needs, and no other.
func TestMkfs(t *testing.T) {
	for name, tc := range map[string]struct {
		size       int64
		fileSystem int64
		inodes     string
		grows      string
	}{
		"15 MiB":       {15 * mib, 15 * mib, "960", "resize_inode"},
		"236 MiB":      {236 * mib, 236 * mib, "7552", "resize_inode"},
		"2 GiB":        {2 * gib, 256 * mib, "8192", "resize_inode"},
		"2 GiB, whole": {2 * gib, 2 * gib, "8192", "resize_inode"},
		"64 GiB":       {64 * gib, 256 * mib, "8192", "resize_inode"},
		"64 GiB, fast": {64 * gib, 8 * gib, "8192", "resize_inode"},
		"1 TiB, whole": {tib, tib, "8192", "resize_inode"},
		"4 TiB":        {4 * tib, 384 * mib, "8192", "resize_inode"},
		"15.9 TiB":     {16*tib - gib, 256 * mib, "8192", "resize_inode"},
		"8 TiB, whole": {8 * tib, 8 * tib, "8192", "meta_bg"},
	} {
		t.Run(name, func(t *testing.T) {
			path, l := sparse(t, tc.size), layout{tc.size}
			require.NoError(t, mkfsProgram(t).try(t.Context(), l, tc.fileSystem))
			require.NoError(t, mkfsProgram(t).make(t.Context(), l, path, tc.fileSystem))
			found, fileSystem, err := measure(path)
			require.NoError(t, err)
			assert.Equal(t, l, found)
			assert.Equal(t, tc.fileSystem, fileSystem)
			values := dumpe2fs(t, path)
			assert.Equal(t, "state", values["Filesystem volume name"])
			assert.Equal(t, "4096", values["Block size"])
			assert.Equal(t, tc.inodes, values["Inodes per group"])
			assert.Equal(t, "256", values["Inode size"])
			assert.Equal(t, "0", values["Reserved block count"])
			assert.Equal(t, fmt.Sprint(l.journal()/blockSize), values["Total journal blocks"])
			want := append(slices.Clone(features[1:]), tc.grows)
			assert.ElementsMatch(t, want, strings.Fields(values["Filesystem features"]))
		})
	}
}

// TestMkfsIsTried: mke2fs accepts what it will be told, for disks of all sizes, and
// what it would refuse is found before anything is written.
func TestMkfsIsTried(t *testing.T) {
	for _, size := range []int64{
		32 * mib, 33 * mib, 100 * mib, 300 * mib, 320 * mib, gib, 30 * gib, tib, 8*tib - gib, 8 * tib, 8*tib + 100*gib, 9 * tib, 16*tib - gib, 16 * tib, 64 * tib,
	} {
		for _, extent := range []Extent{FirstRegion, Whole} {
			require.NoError(t, extent.try(t.Context(), mkfsProgram(t), size), "%d MiB, %v", size/mib, extent)
		}
	}
	err := mkfsProgram(t).try(t.Context(), layout{gib}, 4096)
	assert.ErrorContains(t, err, "mke2fs would not make a file system of 4096 bytes on a disk of 1073741824, nothing was written: exit status 1: ")
	assert.NotContains(t, err.Error(), "mke2fs.conf", "what it says is what is wrong")
}

// TestFormatTriesFirst: a disk is untouched where mke2fs would fail, and marked
// before anything else is written to it.
func TestFormatTriesFirst(t *testing.T) {
	zeros := func(t *testing.T, path string) bool {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		return isZero(raw)
	}
	format := func(t *testing.T, program string) (path string, err error) {
		bin := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(bin, "mke2fs"), []byte("#!/bin/sh\n"+program), 0o700))
		t.Setenv("PATH", bin)
		path = sparse(t, 64*mib)
		blank, err := Open(t.Context(), path)
		require.NoError(t, err)
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		// Where there is a device-mapper, the wipe begins. There it ends.
		_, err = blank.Format(ctx, keys.RandomDiskKey(), FirstRegion, func(Progress) { cancel(errEnough) })
		return path, err
	}
	path, err := format(t, "echo invalid features >&2; exit 1")
	assert.ErrorContains(t, err, "nothing was written: exit status 1: invalid features")
	assert.True(t, zeros(t, path))

	path, err = format(t, `[ "$1" = -n ] && exit 0; exit 1`)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "nothing was written")
	assert.False(t, zeros(t, path))
	left, err := Open(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, Prepared, left.State(), "by the mark")
}

var errEnough = errors.New("enough")

// TestMkfsReadsNoConfiguration: whatever mke2fs.conf and the environment say, the
// file system is the same.
func TestMkfsReadsNoConfiguration(t *testing.T) {
	const size = 2 * gib
	make := func(t *testing.T) map[string]string {
		path := sparse(t, size)
		require.NoError(t, mkfsProgram(t).make(t.Context(), layout{size}, path, 256*mib))
		values := dumpe2fs(t, path)
		for _, differs := range []string{"Filesystem UUID", "Filesystem created", "Last write time", "Last checked", "Directory Hash Seed", "Checksum"} {
			require.NotEmpty(t, values[differs])
			delete(values, differs)
		}
		return values
	}
	want := make(t)
	for name, config := range map[string]string{
		"poor":    "[defaults]\nbase_features = none\ndefault_mntopts = nobarrier\n[fs_types]\next4 = {\nfeatures = ^64bit,^resize_inode\n}\n",
		"rich":    "[defaults]\nbase_features = sparse_super,orphan_file,metadata_csum_seed,bigalloc,encrypt,verity,casefold,quota,project\n[fs_types]\next4 = {\nfeatures = has_journal,fast_commit\n}\n",
		"options": "[options]\nproceed_delay = 3\n[defaults]\nhash_alg = tea\nenable_periodic_fsck = 1\nlazy_itable_init = 0\nflex_bg_size = 64\nreserved_ratio = 20\ncluster_size = 65536\nerrors = panic\nundo_dir = /tmp\n[fs_types]\next4 = {\ninode_size = 128\n}\nsmall = {\nblocksize = 1024\nfeatures = inline_data\n}\n",
		"empty":   "",
		"nothing": "}} what",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "mke2fs.conf")
			require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
			t.Setenv("MKE2FS_CONFIG", path)
			assert.Equal(t, want, make(t))
		})
	}
	t.Run("environment", func(t *testing.T) {
		t.Setenv("MKE2FS_FIRST_META_BG", "1")
		t.Setenv("MKE2FS_DEVICE_SECTSIZE", "8192")
		t.Setenv("MKE2FS_DEVICE_PHYS_SECTSIZE", "8192")
		assert.Equal(t, want, make(t))
	})
}

// dumpe2fs is what it prints about the superblock.
func dumpe2fs(t *testing.T, path string) map[string]string {
	t.Helper()
	program, err := exec.LookPath("dumpe2fs")
	if err != nil {
		program = "/sbin/dumpe2fs"
	}
	out, err := exec.CommandContext(t.Context(), program, "-h", path).Output()
	require.NoError(t, err)
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			values[name] = strings.TrimSpace(value)
		}
	}
	return values
}

func TestMkfsFails(t *testing.T) {
	m := mkfsProgram(t)
	path := filepath.Join(t.TempDir(), "nothing", "there")
	assert.ErrorContains(t, m.make(t.Context(), layout{gib}, path, 256*mib), "making the file system: exit status 1: ")
	t.Setenv("PATH", t.TempDir())
	_, err := findMke2fs()
	assert.ErrorContains(t, err, "mke2fs of e2fsprogs 1.47 or later is needed in this image")
}
