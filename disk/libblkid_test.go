package disk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// byTools are disks as real tools make them; %s is the disk.
var byTools = map[string]string{
	"ext2": "mke2fs -q -F -t ext2 %s", "ext4": "mke2fs -q -F -t ext4 %s", "ext4 with blocks of 1 KiB": "mke2fs -q -F -t ext4 -b 1024 %s",
	"journal of ext4": "mke2fs -q -F -O journal_dev -b 4096 %s",
	"swap":            "mkswap %s", "swap with pages of 8 KiB": "mkswap -p 8192 %s", "swap with pages of 16 KiB": "mkswap -p 16384 %s",
	"swap with pages of 32 KiB": "mkswap -p 32768 %s", "swap with pages of 64 KiB": "mkswap -p 65536 %s",
	"Minix 1": "mkfs.minix -1 %s", "Minix 2": "mkfs.minix -2 %s", "Minix 3": "mkfs.minix -3 %s", "BFS": "mkfs.bfs %s",
	"LUKS1": "echo key | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 %s -",
	"MBR":   "echo , | sfdisk -q %s", "GPT": "echo , | sfdisk -q -X gpt %s", "GPT alone": "echo , | sfdisk -q -X gpt %[1]s && dd if=/dev/zero of=%[1]s bs=512 count=1 conv=notrunc status=none",
	"spare GPT": "echo , | sfdisk -q -X gpt %[1]s && dd if=/dev/zero of=%[1]s bs=4096 count=8 conv=notrunc status=none",
	"SGI label": "echo , | sfdisk -q -X sgi %s", "Sun label": "echo , | sfdisk -q -X sun %s",
}

// TestSignaturesKnowWhatBlkidKnows: what libblkid recognises of the disks that real
// tools make, the table has a name for. It knows more formats than can be made here:
// that is why OpenNonzero asks it as well.
func TestSignaturesKnowWhatBlkidKnows(t *testing.T) {
	for name, command := range byTools {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			require.NoError(t, os.Truncate(path, 64<<20))
			out, err := exec.Command("sh", "-e", "-c", fmt.Sprintf(command, path)).CombinedOutput()
			require.NoError(t, err, "%s", out)
			found, err := probed(t, path)
			require.NoError(t, err)
			assert.NotEmpty(t, found, "libblkid")
			assertRefusedByName(t, path)
		})
	}
}

// probed is what libblkid says about the disk at path.
func probed(t *testing.T, path string) (string, error) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	return probe(f)
}

// TestBlkidsMarksAreSignatures: marks alone, as far as libblkid is satisfied
// with them.
func TestBlkidsMarksAreSignatures(t *testing.T) {
	seen, zeros := 0, make([]byte, minSize)
	check := func(marks []mark) {
		path := imageOf(t, zeros, marks)
		if found, err := probed(t, path); err != nil || found != "" {
			seen++
			assertRefusedByName(t, path)
		}
	}
	for _, sig := range signatures {
		at := sig.offset
		if at < 0 {
			at += minSize
		}
		check([]mark{{at, sig.magic}})
	}
	for _, tc := range foreign {
		check(tc.marks)
	}
	assert.Greater(t, seen, 40, "libblkid recognises by the mark alone")
}

// assertRefusedByName holds without libblkid, and on noise: the table knows it.
func assertRefusedByName(t *testing.T, path string) {
	t.Helper()
	_, err := Open(t.Context(), path)
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, "signature", refusal.Field)
}

// TestBlkidDecidesToo: what the table does not know, and libblkid does, is refused
// on platforms with dirty disks.
func TestBlkidDecidesToo(t *testing.T) {
	table := be32(65536) + "\x01QED" + be32(2) + be32(100) // partitions of Atari, with a name that nobody uses
	path := imageOf(t, make([]byte, minSize), []mark{{0, "\x60"}, {450, table}})
	_, err := Open(t.Context(), path)
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	require.True(t, refusal.Unrecognised(), "the table does not know it")
	_, err = OpenNonzero(t.Context(), path)
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, "signature", refusal.Field)
	assert.Equal(t, "atari, as libblkid says", refusal.Found)
}

// TestProbeIsStrict: a wrong checksum, and several things at once, are not nothing.
// The table knows these as well; here it is libblkid that has to.
func TestProbeIsStrict(t *testing.T) {
	badChecksum := []mark{{512, "LABELONE" + le64(1)}, {512 + 24, "LVM2 001"}}
	found, err := probed(t, imageOf(t, make([]byte, minSize), badChecksum))
	require.NoError(t, err)
	assert.Equal(t, "LVM2_member", found)

	path := imageOf(t, make([]byte, 64<<20), nil)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", path)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("hsqs"), 0) // SquashFS leaves the place of ext4 alone
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{4}, 28)
	require.NoError(t, err)
	found, err = probed(t, path)
	require.NoError(t, err)
	assert.Equal(t, "several things at once", found)
}

func TestProbeFails(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = probe(r)
	assert.Error(t, err, "a pipe is no disk, and not nothing")
}
