//go:build vm

package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	damagedDisk = "/dev/vdd"
	damaged     = "damaged"
)

// victim is a disk with the state of a node, which can be put back.
type victim struct {
	*Device
	key   keys.DiskKey
	salt  keys.MeasurementSalt
	good  []byte // the whole disk
	block int64  // where node_state.json lies in the mapping, in blocks of 4 KiB
	table integrityTable
}

func newVictim(t *testing.T) victim {
	t.Helper()
	v := victim{key: keys.RandomDiskKey(), salt: salt(t)}
	blank, err := Open(t.Context(), damagedDisk)
	require.NoError(t, err)
	v.Device, err = blank.Format(t.Context(), v.key, FirstRegion, func(Progress) {})
	require.NoError(t, err)
	require.NoError(t, v.Unlock(t.Context(), damaged, v.key))
	v.table = readIntegrityTable(t, damaged+"_dif")
	dir := t.TempDir()
	require.NoError(t, unix.Mount("/dev/mapper/"+damaged, dir, "ext4", 0, ""))
	require.NoError(t, WriteNodeState(dir, RoleWorker, v.salt))
	v.block = blockOf(t, filepath.Join(dir, nodeStatePath))
	require.NoError(t, unix.Unmount(dir, 0))
	require.NoError(t, Close(damaged))
	v.good = content(t, damagedDisk)
	return v
}

// content is what is on the disk itself, past the page cache.
func content(t *testing.T, path string) []byte {
	t.Helper()
	command(t, nil, "blockdev", "--flushbufs", path)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return raw
}

func put(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// blockOf is the one block of a small file.
func blockOf(t *testing.T, path string) int64 {
	t.Helper()
	const fibmap = 1
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	block, err := unix.IoctlGetInt(int(f.Fd()), fibmap) // of block 0, which is what the int says before
	require.NoError(t, err)
	return int64(block)
}

// integrityTable is how dm-integrity lays a small disk out: superblock, journal,
// then areas of tags and their data. In sectors, but for the blocks of an area.
type integrityTable struct{ start, journal, tags, blocks int64 }

func readIntegrityTable(t *testing.T, name string) integrityTable {
	t.Helper()
	fields := strings.Fields(command(t, nil, "dmsetup", "table", name))
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(t, err, "%q", fields)
		return n
	}
	option := func(name string) int64 {
		for _, f := range fields {
			if value, ok := strings.CutPrefix(f, name+":"); ok {
				return number(value)
			}
		}
		t.Fatalf("no %s in %q", name, fields)
		return 0
	}
	require.Equal(t, []string{"integrity", "32"}, []string{fields[2], fields[5]})
	buffer := option("buffer_sectors")
	blocks := option("interleave_sectors") / 8
	tags := blocks * 32 / 512
	return integrityTable{number(fields[4]), option("journal_sectors"), (tags + buffer - 1) / buffer * buffer, blocks}
}

// area is where the area of a block begins, with its tags; at is the block's place in it.
func (i integrityTable) area(block int64) (area, at int64) {
	return (i.start + 8 + i.journal + block/i.blocks*(i.tags+i.blocks*8)) * 512, block % i.blocks
}

// data and tag are where a block of the mapping lies on the disk, in bytes.
func (i integrityTable) data(block int64) int64 {
	area, at := i.area(block)
	return area + i.tags*512 + at*4096
}

func (i integrityTable) tag(block int64) int64 {
	area, at := i.area(block)
	return area + at*32
}

const tampered = "the disk is damaged or was tampered with"

// TestStorageDamage changes the disk beneath the encryption, as its host can.
// There is an error, at once; the mount is gone and the mapping can be closed.
func TestStorageDamage(t *testing.T) {
	storageGuestOnly(t)
	v := newVictim(t)
	block := func(n int64) patch { return patch{v.table.data(n), v.good[v.table.data(n):][:4096]} }
	tag := func(n int64) patch { return patch{v.table.tag(n), v.good[v.table.tag(n):][:32]} }
	for name, tc := range map[string]struct {
		patches []patch
		want    string
	}{
		"untouched":                      {nil, ""},
		"bit flipped in node_state.json": {[]patch{block(v.block).flipped()}, tampered},
		"bit flipped in its tag":         {[]patch{tag(v.block).flipped()}, tampered},
		"bit flipped beside it":          {[]patch{block(v.block + 1).flipped()}, ""},
		"bit flipped in the superblock":  {[]patch{block(0).flipped()}, tampered},
		"noise in the journal":           {[]patch{{metadataSize + superblockSize, random(int(v.table.journal) * 512)}}, tampered},
		"block swapped with the next": {[]patch{
			block(v.block).to(v.table.data(v.block + 1)), block(v.block + 1).to(v.table.data(v.block)),
			tag(v.block).to(v.table.tag(v.block + 1)), tag(v.block + 1).to(v.table.tag(v.block)),
		}, tampered},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range tc.patches {
				put(t, damagedDisk, p.at, p.bytes)
			}
			require.NoError(t, v.Unlock(t.Context(), damaged, v.key))
			err := v.readSalt(t)
			require.NoError(t, Close(damaged))
			assert.Equal(t, "No devices found\n", command(t, nil, "dmsetup", "ls"))
			for _, p := range tc.patches {
				put(t, damagedDisk, p.at, v.good[p.at:][:len(p.bytes)])
			}
			if tc.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tc.want)
		})
	}
	t.Run("power lost while mounted", func(t *testing.T) { testNeedsRecovery(t, v) })
	t.Run("mount", func(t *testing.T) { testMount(t, v) })
	t.Run("close", func(t *testing.T) { testClose(t, v) })
	t.Run("half an unlock", func(t *testing.T) { testHalfUnlock(t, v) })
	t.Run("not the file system", func(t *testing.T) { testForeignContent(t, v) })
}

// readSalt also looks whether the mount is gone.
func (v victim) readSalt(t *testing.T) error {
	dir := filepath.Join(t.TempDir(), "mount")
	read, err := ReadSalt("/dev/mapper/"+damaged, dir)
	if err == nil {
		assert.Equal(t, v.salt.Bytes(), read.Bytes())
	}
	assert.NoDirExists(t, dir)
	return err
}

// patch is a change of the disk.
type patch struct {
	at    int64
	bytes []byte
}

func (p patch) to(at int64) patch { return patch{at, p.bytes} }

func (p patch) flipped() patch {
	b := bytes.Clone(p.bytes)
	b[0] ^= 1
	return patch{p.at, b}
}

// testForeignContent has whoever knows the key write something else.
func testForeignContent(t *testing.T, v victim) {
	require.NoError(t, v.Unlock(t.Context(), damaged, v.key))
	for _, tc := range []struct {
		what  string
		block int64
		bytes []byte
		want  string
	}{
		{"other node_state.json", v.block, []byte("{}"), nodeStatePath},
		{"superblock corrupt", 0, bytes.Repeat([]byte{0xff}, 4096), "as ext4"},
		{"xfs", 0, append([]byte("XFSB"), make([]byte, 4092)...), "as ext4"},
		{"squashfs", 0, append([]byte("hsqs"), make([]byte, 4092)...), "as ext4"},
	} {
		put(t, "/dev/mapper/"+damaged, tc.block*4096, tc.bytes)
		assert.ErrorContains(t, v.readSalt(t), tc.want, tc.what)
	}
	require.NoError(t, Close(damaged))
}

// testNeedsRecovery takes the disk as a power cut leaves it: the journal holds a
// change that the file system does not have yet, the renaming of node_state.json.
// The salt is read all the same, and the journal is not replayed for that.
func testNeedsRecovery(t *testing.T, v victim) {
	require.NoError(t, v.Unlock(t.Context(), damaged, v.key))
	dir := t.TempDir()
	require.NoError(t, unix.Mount("/dev/mapper/"+damaged, dir, "ext4", 0, ""))
	path := filepath.Join(dir, nodeStatePath)
	require.NoError(t, os.Rename(path, path+".old"))
	parent, err := os.Open(filepath.Dir(path))
	require.NoError(t, err)
	require.NoError(t, parent.Sync())
	require.NoError(t, parent.Close())
	cut := content(t, damagedDisk)
	require.NoError(t, unix.Unmount(dir, 0))
	require.NoError(t, Close(damaged))

	put(t, damagedDisk, 0, cut)
	require.NoError(t, v.Unlock(t.Context(), damaged, v.key))
	before := content(t, "/dev/mapper/"+damaged)
	const incompatible, needsRecovery = 1024 + 0x60, 4
	require.NotZero(t, binary.LittleEndian.Uint32(before[incompatible:])&needsRecovery)
	read, err := ReadSalt("/dev/mapper/"+damaged, filepath.Join(t.TempDir(), "mount"))
	require.NoError(t, err)
	assert.Equal(t, v.salt.Bytes(), read.Bytes())
	assert.True(t, bytes.Equal(before, content(t, "/dev/mapper/"+damaged)), "reading has written")

	require.NoError(t, unix.Mount("/dev/mapper/"+damaged, dir, "ext4", 0, ""))
	assert.NoFileExists(t, path, "the journal had the change")
	require.NoError(t, unix.Unmount(dir, 0))
	require.NoError(t, Close(damaged))
	put(t, damagedDisk, 0, v.good)
}

// testMount looks at the mount while it is there, and keeps a file open on it.
func testMount(t *testing.T, v victim) {
	require.NoError(t, v.Unlock(t.Context(), damaged, v.key))
	dir := filepath.Join(t.TempDir(), "mount")
	var held *os.File
	err := mounted("/dev/mapper/"+damaged, dir, withoutJournal, func() (err error) {
		var s unix.Statfs_t
		require.NoError(t, unix.Statfs(dir, &s))
		const want = unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC
		assert.EqualValues(t, want, s.Flags&want)
		held, err = os.Open(filepath.Join(dir, nodeStatePath))
		return err
	})
	assert.ErrorIs(t, err, unix.EBUSY)
	assert.NoDirExists(t, dir, "nobody finds the disk there")
	assert.ErrorContains(t, Close(damaged), "in use")
	require.NoError(t, held.Close())
	require.NoError(t, Close(damaged))
}

// testClose: whatever the disk shows by then, a mapping is closed, and the
// library does not repair what it finds on the disk.
func testClose(t *testing.T, v victim) {
	require.NoError(t, v.Unlock(t.Context(), damaged, v.key))
	put(t, damagedDisk, 0, make([]byte, 512)) // the second copy is whole: libcryptsetup would write the first one anew
	before := headerOf(t, damagedDisk)
	require.NoError(t, Close(damaged))
	assert.NoFileExists(t, "/dev/mapper/"+damaged)
	command(t, nil, "blockdev", "--flushbufs", damagedDisk)
	assert.True(t, bytes.Equal(before, headerOf(t, damagedDisk)), "the header was written")
}

// testHalfUnlock has the second of the two mappings fail, and then the first.
func testHalfUnlock(t *testing.T, v victim) {
	command(t, nil, "dmsetup", "create", damaged, "--table", "0 8 zero") // the name is taken
	assert.Error(t, v.Unlock(t.Context(), damaged, v.key))
	assert.NoFileExists(t, "/dev/mapper/"+damaged+"_dif")
	command(t, nil, "dmsetup", "remove", "--retry", damaged)

	put(t, damagedDisk, metadataSize, make([]byte, 8)) // no superblock
	assert.Error(t, v.Unlock(t.Context(), damaged, v.key))
	assert.Equal(t, "No devices found\n", command(t, nil, "dmsetup", "ls"))
	put(t, damagedDisk, metadataSize, v.good[metadataSize:][:8])
}
