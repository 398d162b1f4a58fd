package disk

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// keptDisk is a joined disk with data on it, its backup, and the key.
type keptDisk struct {
	content []byte
	header  header
	area    []byte
	key     keys.DiskKey
	backup  *Backup
}

func newKeptDisk(t testing.TB) keptDisk {
	t.Helper()
	var k keptDisk
	k.header, k.area, k.key = preparedDisk(t)
	k.header.seqID = 5
	k.header.metadata.Tokens = joinedTokens(salt(t))
	k.content = slices.Concat(image(t, k.header, k.area), superblockOf(minSize), emptyJournal(journalSections(t)))
	k.content = append(k.content, random(int(minSize)-len(k.content))...)
	var err error
	k.backup, err = ReadHeader(t.Context(), k.file(t, k.content))
	require.NoError(t, err)
	return k
}

func journalSections(t testing.TB) int {
	t.Helper()
	return int(superblockOf(minSize)[12]) // journal_sections, little-endian
}

func (k keptDisk) file(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// newer is the same disk after another change of its key.
func (k keptDisk) newer(t testing.TB) []byte {
	t.Helper()
	h := k.header
	h.seqID++
	return image(t, h, k.area)
}

func TestBackupIsReadAsItWasWritten(t *testing.T) {
	k := newKeptDisk(t)
	path := filepath.Join(t.TempDir(), "kept")
	require.NoError(t, k.backup.WriteNew(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
	assert.ErrorIs(t, k.backup.WriteNew(path), fs.ErrExist)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1, "nothing else stays")

	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(k.content[:regionSize], raw[:regionSize]))
	b, err := ReadBackup(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, k.header.id, b.ID())
	assert.EqualValues(t, 5, b.SeqID())
	assert.EqualValues(t, minSize, b.Size)
	assert.True(t, b.Complete)
	assert.NoError(t, b.Prove(k.key))
	assert.ErrorIs(t, b.Prove(keys.RandomDiskKey()), keys.ErrWrongKey)
}

// TestCryptsetupsBackup: a file of cryptsetup luksHeaderBackup is the first 16 MiB.
func TestCryptsetupsBackup(t *testing.T) {
	k := newKeptDisk(t)
	b, err := ReadBackup(t.Context(), k.file(t, k.content[:metadataSize]))
	require.NoError(t, err)
	assert.False(t, b.Complete)
	assert.NoError(t, b.Prove(k.key))

	lost := bytes.Clone(k.content)
	clear(lost[:metadataSize])
	path := k.file(t, lost)
	_, err = b.Restore(t.Context(), path, Over{})
	require.NoError(t, err)
	restored, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(k.content, restored))

	clear(lost[metadataSize:][:superblockSize])
	_, err = b.Restore(t.Context(), k.file(t, lost), Over{})
	assert.ErrorContains(t, err, "integrity superblock magic", "it has no superblock to put back")
}

func TestNoBackup(t *testing.T) {
	k := newKeptDisk(t)
	good := k.backup.Encode()
	other := newKeptDisk(t)
	changed := func(at int, by byte) []byte {
		raw := bytes.Clone(good)
		raw[at] ^= by
		return raw
	}
	for name, tc := range map[string]struct {
		raw  []byte
		want string
	}{
		"empty":                      {nil, ErrNoBackup.Error()},
		"short":                      {good[:backupSize-1], ErrNoBackup.Error()},
		"long":                       {append(bytes.Clone(good), 0), ErrNoBackup.Error()},
		"zeros":                      {make([]byte, backupSize), ErrNoBackup.Error()},
		"zeros of cryptsetup":        {make([]byte, metadataSize), ErrNoBackup.Error()},
		"a version to come":          {changed(regionSize+len(backupMagic)-2, 3), ErrNoBackup.Error()},
		"bit in the primary header":  {changed(300, 1), "checksum does not fit"},
		"bit in the second header":   {changed(headerSize+5000, 1), "checksum does not fit"},
		"bit in the keyslot":         {changed(headersSize+77, 1), "checksum does not fit"},
		"bit behind the keyslots":    {changed(metadataSize-1, 1), "checksum does not fit"},
		"bit in the superblock":      {changed(metadataSize, 1), "checksum does not fit"},
		"bit in the size":            {bytes.Replace(good, []byte("\nsize 3"), []byte("\nsize 4"), 1), "checksum does not fit"},
		"small size":                 {bytes.Replace(good, []byte("\nsize 3"), []byte("\nsize 0"), 1), "description is damaged"},
		"words in the size":          {bytes.Replace(good, []byte("\nsize 3"), []byte("\nsize x"), 1), "description is damaged"},
		"another UUID":               {bytes.Replace(good, []byte("\nuuid "+k.header.id.String()), []byte("\nuuid "+other.header.id.String()), 1), "checksum does not fit"},
		"a word more":                {changed(backupSize-1, 'x'), "description is not that"},
		"another header, sealed":     {resealed(k.backup, func(b *Backup) { b.region[headerSize+100] ^= 1 }), "secondary header csum_alg"},
		"another UUID, sealed again": {relabelled(k.backup, other.header.id.String()), "description is not that"},
		"another disk's text":        {slices.Concat(good[:regionSize], other.backup.Encode()[regionSize:]), "checksum does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadBackup(t.Context(), k.file(t, tc.raw))
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := ReadBackup(t.Context(), t.TempDir())
	assert.ErrorIs(t, err, ErrNoBackup)
}

// resealed is a backup that somebody has changed, with a good checksum.
func resealed(b *Backup, change func(*Backup)) []byte {
	c := *b
	c.region = bytes.Clone(b.region)
	change(&c)
	return c.Encode()
}

// relabelled is a backup whose description says something else, with a good checksum.
func relabelled(b *Backup, uuid string) []byte {
	file := b.Encode()
	text := fmt.Sprintf("%suuid %s\nsize %d\nseqid %d\n", backupMagic, uuid, b.Size, b.SeqID())
	copy(file[regionSize:], fmt.Sprintf("%ssha256 %s\n", text, b.checksum(text)))
	return file
}

// TestWhatIsNotKept: only the header of a joined disk is.
func TestWhatIsNotKept(t *testing.T) {
	h, area, _ := preparedDisk(t)
	prepared := slices.Concat(image(t, h, area), superblockOf(minSize))
	k := newKeptDisk(t)
	damaged := bytes.Clone(k.content)
	damaged[headerSize+100] ^= 1
	for name, tc := range map[string]struct {
		content []byte
		want    string
	}{
		"blank":            {make([]byte, minSize), "the disk is blank"},
		"prepared":         {append(prepared, make([]byte, int(minSize)-len(prepared))...), "the disk is prepared"},
		"marked":           {append([]byte(interrupted), make([]byte, int(minSize)-len(interrupted))...), "the disk is prepared"},
		"damaged":          {damaged, "secondary header"},
		"a disk too small": {k.content[:1<<20], "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadHeader(t.Context(), k.file(t, tc.content))
			require.ErrorContains(t, err, tc.want)
		})
	}
	cryptsetups := prepared[:metadataSize]
	_, err := ReadBackup(t.Context(), k.file(t, cryptsetups))
	assert.ErrorContains(t, err, "the disk was prepared")
}

// rekeyed is another key under the same seqid, as after a restored backup and another
// change of the key.
func (k keptDisk) rekeyed(t *testing.T) []byte {
	t.Helper()
	raw, err := openKeyslot(k.header.metadata, k.area, k.key)
	require.NoError(t, err)
	slot, area := sealKeyslot(raw, keys.RandomDiskKey())
	h := k.header
	h.metadata.Keyslots = map[string]keyslot{"0": slot}
	return image(t, h, area)
}

func TestCurrent(t *testing.T) {
	k, other := newKeptDisk(t), newKeptDisk(t)
	newer := slices.Concat(k.newer(t), k.content[metadataSize:])
	assert.NoError(t, k.backup.Current(t.Context(), k.file(t, k.content)))
	assert.ErrorIs(t, k.backup.Current(t.Context(), k.file(t, other.content)), ErrOtherDisk)
	assert.ErrorIs(t, k.backup.Current(t.Context(), k.file(t, newer)), ErrNewerHeader)
	assert.ErrorContains(t, k.backup.Current(t.Context(), k.file(t, append(bytes.Clone(k.content), make([]byte, 512)...))), "make a new backup")
	clear(newer[:100])
	assert.Error(t, k.backup.Current(t.Context(), k.file(t, newer)))
	rekeyed := slices.Concat(k.rekeyed(t), k.content[metadataSize:])
	assert.ErrorIs(t, k.backup.Current(t.Context(), k.file(t, rekeyed)), ErrDiffers)
	damaged := bytes.Clone(k.content)
	damaged[headersSize+areaSize-1] ^= 1
	assert.ErrorIs(t, k.backup.Current(t.Context(), k.file(t, damaged)), ErrDiffers, "the keyslot is damaged")
}

// TestALostKeyslotIsSeen: no key opens such a header.
func TestALostKeyslotIsSeen(t *testing.T) {
	k := newKeptDisk(t)
	assert.False(t, k.backup.KeyslotLost())
	clear(k.content[headersSize:][:areaSize])
	b, err := ReadHeader(t.Context(), k.file(t, k.content))
	require.NoError(t, err)
	assert.True(t, b.KeyslotLost())
}

// TestNameWithoutRename: file systems of the network know no renaming that replaces
// nothing.
func TestNameWithoutRename(t *testing.T) {
	for _, cause := range []error{unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP} {
		dir := t.TempDir()
		file, path := filepath.Join(dir, "file"), filepath.Join(dir, "path")
		require.NoError(t, os.WriteFile(file, []byte("kept"), 0o600))
		unable := func(int, string, int, string, uint) error { return cause }
		require.NoError(t, name(file, path, unable))
		kept, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, "kept", string(kept))
		assert.ErrorIs(t, name(file, path, unable), fs.ErrExist)
		assert.ErrorIs(t, name(file, filepath.Join(dir, "other"), func(int, string, int, string, uint) error { return unix.ENOSPC }), unix.ENOSPC)
	}
}

func FuzzBackup(f *testing.F) {
	k := newKeptDisk(f)
	good := k.backup.Encode()
	f.Add(good[regionSize:])
	f.Add([]byte(backupMagic + "uuid x\nsize -1\nseqid 99999999999999999999\nsha256 0\n"))
	f.Fuzz(func(t *testing.T, description []byte) {
		raw := bytes.Clone(good)
		copy(raw[regionSize:], description)
		b, err := parseBackup(raw)
		if err == nil {
			require.True(t, bytes.Equal(good, raw), "another description was accepted")
			require.Equal(t, int64(minSize), b.Size)
		}
	})
}
