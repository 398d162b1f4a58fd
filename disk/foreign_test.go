package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mark is bytes at a place, from the end of the disk if negative.
type mark struct {
	at    int64
	bytes string
}

// foreign are disks of others that carry no known header of ours. named is what
// the refusal has to call it; empty for data without a name.
var foreign = []struct {
	name, named string
	marks       []mark
}{
	{"Atari partitions", "Atari", []mark{{450, be32(65536) + "\x01GEM" + be32(2) + be32(100)}}},
	{"mainframe, compatible layout", "mainframe", []mark{{8196, "\xe5\xd6\xd3\xf1\xe5\xd6\xd3\xf1"}}},
	{"mainframe, Linux layout", "mainframe", []mark{{8192, "\xd3\xd5\xe7\xf1"}}},
	{"Minix 1, big-endian", "Minix", []mark{{1040, "\x13\x7f"}}},
	{"Minix 1 with long names, big-endian", "Minix", []mark{{1040, "\x13\x8f"}}},
	{"Minix 2, big-endian", "Minix", []mark{{1040, "\x24\x68"}}},
	{"Minix 3, big-endian", "Minix", []mark{{1048, "\x4d\x5a"}}},
	{"ScoutFS", "ScoutFS", []mark{{65540, "\x8b\x42\x3c\x10"}}},
	{"swap with pages of 8 KiB", "swap", []mark{{8182, "SWAPSPACE2"}}},
	{"swap with pages of 32 KiB", "swap", []mark{{32758, "SWAPSPACE2"}}},
	{"VxFS, big-endian", "VxFS", []mark{{8192, "\xa5\x01\xfc\xf5"}}},
	{"ZFS without uberblocks", "ZFS", []mark{{16 << 10, zfsLists[0]}}},
	{"ZFS without uberblocks, big-endian", "ZFS", []mark{{16 << 10, zfsLists[1]}}},
	{"ZFS, first uberblock", "ZFS", []mark{{128 << 10, zfsMagics[0]}}},
	{"ZFS, last uberblock, big-endian", "ZFS", []mark{{255 << 10, zfsMagics[1]}}},
	{"ZFS, only label 1", "ZFS", []mark{{(256 + 16) << 10, zfsLists[0]}}},
	{"ZFS, only an uberblock of label 1", "ZFS", []mark{{(256 + 200) << 10, zfsMagics[0]}}},
	{"ZFS, only label 2", "ZFS", []mark{{-(512 - 16) << 10, zfsLists[0]}}},
	{"ZFS, only an uberblock of label 2", "ZFS", []mark{{-(512 - 128) << 10, zfsMagics[0]}}},
	{"ZFS, only label 3", "ZFS", []mark{{-(256 - 16) << 10, zfsLists[0]}}},
	{"ZFS, only the last uberblock of label 3", "ZFS", []mark{{-1 << 10, zfsMagics[1]}}},
	{"SPDK blobstore", "SPDK", []mark{{0, "SPDKBLOB"}}},
	{"GEOM mirror", "GEOM", []mark{{-512, "GEOM::MIRROR"}}},
	{"GEOM label on sectors of 4 KiB", "GEOM", []mark{{-4096, "GEOM::LABEL"}}},
	{"softraid of OpenBSD", "softraid", []mark{{8192, "marcCRAM"}}},
	{"dm-writecache", "dm-writecache", []mark{{0, le32(0x23489321)}}},
	{"dm-cache", "dm-cache", []mark{{32, le64(0o6142003)}}},
	{"dm-era", "dm-era", []mark{{32, le64(2126579579)}}},
	{"tar", "tar", []mark{{0, "etc/passwd"}, {257, "ustar\x0000"}}},
	{"zstd", "zstd", []mark{{0, "\x28\xb5\x2f\xfd"}}},
	{"dump of PostgreSQL", "PostgreSQL", []mark{{0, "PGDMP\x01\x0e"}}},
	{"GPT, only the spare one", "GPT", []mark{{-512, "EFI PART"}}},
	{"md, metadata 1.0", "RAID", []mark{{-8192, "\xfc\x4e\x2b\xa9"}}},
	{"a dump of SQL", "", []mark{{0, "--\n-- PostgreSQL database cluster dump\n"}}},
	{"a text in the last sector", "", []mark{{-512, "property of"}}},
	{"a text behind the header", "", []mark{{16<<20 + 4000, "property of"}}},
	{"noise", "", []mark{{0, strings.Repeat("noise, ", 64<<10)}}},
}

func be32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// TestForeignDisks: none is new; what has a name is called by it, and is not
// formatted on platforms with dirty disks either.
func TestForeignDisks(t *testing.T) {
	zeros := make([]byte, minSize)
	for _, tc := range foreign {
		t.Run(tc.name, func(t *testing.T) {
			path := imageOf(t, zeros, tc.marks)
			_, err := Open(t.Context(), path)
			refusal := requireRefused(t, err, tc.named)
			d, err := OpenNonzero(t.Context(), path)
			formatted := slices.Contains([]string{"a dump of SQL", "noise"}, tc.name) // has no name, and begins with no zeros
			assert.Equal(t, formatted, refusal.Unrecognised())
			if formatted {
				require.NoError(t, err)
				assert.Equal(t, Unrecognised, d.State())
				return
			}
			requireRefused(t, err, tc.named)
			assert.Nil(t, d)
		})
	}
}

// TestForeignDisksOnNoise: where no zeros betray them, names are found as well.
func TestForeignDisksOnNoise(t *testing.T) {
	noise := []byte(strings.Repeat("noise, ", minSize/7+1))[:minSize]
	content := bytes.Clone(noise)
	for _, tc := range foreign {
		copy(content, noise)
		for _, m := range tc.marks {
			copy(content[(m.at+minSize)%minSize:], m.bytes)
		}
		_, err := diskOf(content)
		requireRefused(t, err, tc.named)
	}
}

func requireRefused(t *testing.T, err error, named string) *Refusal {
	t.Helper()
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	if named != "" {
		require.Equal(t, "signature", refusal.Field)
		require.Contains(t, refusal.Found, named)
	}
	return refusal
}

func imageOf(t *testing.T, content []byte, marks []mark) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(int64(len(content))))
	if !isZero(content) {
		_, err = f.Write(content)
		require.NoError(t, err)
	}
	for _, m := range marks {
		if m.at < 0 {
			m.at += int64(len(content))
		}
		_, err = f.WriteAt([]byte(m.bytes), m.at)
		require.NoError(t, err)
	}
	return path
}

// TestWipedStart: a real file system that has lost its start is refused, however
// much of it.
func TestWipedStart(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	require.NoError(t, os.WriteFile(made, nil, 0o600))
	require.NoError(t, os.Truncate(made, 600<<20))
	out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-E", "nodiscard", made).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, lost := range []int64{512, 4 << 10, 64 << 10, 1 << 20, 4 << 20, 15 << 20, 16 << 20, 17 << 20, 100 << 20, 128 << 20, 300 << 20} {
		t.Run(fmt.Sprint(lost>>10, " KiB"), func(t *testing.T) {
			f, err := os.OpenFile(made, os.O_WRONLY, 0)
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, writeZeros(f, span{0, lost}))
			for _, open := range []func() (*Device, error){
				func() (*Device, error) { return Open(t.Context(), made) },
				func() (*Device, error) { return OpenNonzero(t.Context(), made) },
			} {
				_, err = open()
				var refusal *Refusal
				require.ErrorAs(t, err, &refusal)
				assert.True(t, refusal.Meaning == Damaged || refusal.Field == "signature", refusal)
			}
		})
	}
}
