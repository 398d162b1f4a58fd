package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRestore(t *testing.T) {
	k := newKeptDisk(t)
	other := newKeptDisk(t)
	lost := func(change func([]byte)) []byte {
		content := bytes.Clone(k.content)
		change(content)
		return content
	}
	mark := append([]byte(interrupted), make([]byte, binarySize-len(interrupted))...)
	newer, rekeyed := k.newer(t), k.rekeyed(t)
	unidentified := []string{"first 16 MiB", "first 17 MiB", "ends in zeros", "headers lost, it is told", "another disk, told"}
	for name, tc := range map[string]struct {
		content []byte
		over    Over
		want    error // nil: restored
		journal bool
	}{
		"nothing lost":                  {k.content, Over{}, nil, false},
		"first sector":                  {lost(func(b []byte) { clear(b[:512]) }), Over{}, nil, false},
		"first 16 MiB":                  {lost(func(b []byte) { clear(b[:16<<20]) }), Over{}, nil, false},
		"first 17 MiB":                  {lost(func(b []byte) { clear(b[:min(17<<20, len(b))]) }), Over{}, nil, true},
		"superblock":                    {lost(func(b []byte) { clear(b[metadataSize:regionSize]) }), Over{}, nil, false},
		"one sector of the journal":     {lost(func(b []byte) { b[regionSize+511] ^= 1 }), Over{}, nil, true},
		"the second header":             {lost(func(b []byte) { clear(b[headerSize:headersSize]) }), Over{}, nil, false},
		"the keyslot":                   {lost(func(b []byte) { clear(b[headersSize : headersSize+areaSize]) }), Over{}, nil, false},
		"ends in zeros":                 {append(k.content[:0:0], make([]byte, len(k.content))...), Over{}, nil, true},
		"another disk":                  {other.content, Over{NewerHeader: true, ForeignData: true}, ErrOtherDisk, false},
		"another disk, told":            {other.content, Over{OtherDisk: true}, nil, false},
		"another disk, told, marked":    {lost(func(b []byte) { copy(b, other.content[:headersSize]); copy(b, mark) }), Over{OtherDisk: true}, ErrForeignData, false},
		"newer, told of another disk":   {lost(func(b []byte) { copy(b, newer) }), Over{OtherDisk: true}, ErrNewerHeader, false},
		"other key, same seqid":         {lost(func(b []byte) { copy(b, rekeyed) }), Over{ForeignData: true}, ErrNewerHeader, false},
		"other key, same seqid, told":   {lost(func(b []byte) { copy(b, rekeyed) }), Over{NewerHeader: true}, nil, false},
		"other key, second copy lost":   {lost(func(b []byte) { copy(b, rekeyed); clear(b[headerSize:headersSize]) }), Over{}, ErrNewerHeader, false},
		"other key, neither copy whole": {lost(func(b []byte) { copy(b, rekeyed); b[binarySize] ^= 1; b[headerSize+binarySize] ^= 1 }), Over{}, nil, false},
		"another disk, first copy":      {lost(func(b []byte) { copy(b, other.content[:headerSize]) }), Over{ForeignData: true}, ErrOtherDisk, false},
		"another disk, second copy":     {lost(func(b []byte) { clear(b[:headerSize]); copy(b[headerSize:], other.content[headerSize:headersSize]) }), Over{}, ErrOtherDisk, false},
		"enlarged":                      {append(bytes.Clone(k.content), make([]byte, 4096)...), Over{}, nil, false},
		"enlarged, one copy left":       {append(lost(func(b []byte) { clear(b[:headerSize]) }), make([]byte, 4096)...), Over{}, nil, false},
		"larger, no header left":        {append(lost(func(b []byte) { clear(b[:headersSize]) }), make([]byte, 4096)...), Over{NewerHeader: true}, ErrOtherDisk, false},
		"larger, told":                  {append(lost(func(b []byte) { clear(b[:headersSize]) }), make([]byte, 4096)...), Over{ForeignData: true}, nil, false},
		"smaller":                       {k.content[:len(k.content)-512], Over{}, ErrOtherDisk, false},
		"newer":                         {lost(func(b []byte) { copy(b, newer) }), Over{}, ErrNewerHeader, false},
		"newer, first copy lost":        {lost(func(b []byte) { copy(b, newer); clear(b[:headerSize]) }), Over{}, ErrNewerHeader, false},
		"newer, second copy lost":       {lost(func(b []byte) { copy(b, newer); clear(b[headerSize:headersSize]) }), Over{ForeignData: true}, ErrNewerHeader, false},
		"newer, told":                   {lost(func(b []byte) { copy(b, newer) }), Over{NewerHeader: true}, nil, false},
		"mark":                          {lost(func(b []byte) { copy(b, mark) }), Over{NewerHeader: true}, ErrForeignData, false},
		"mark, told":                    {lost(func(b []byte) { copy(b, mark) }), Over{ForeignData: true}, nil, false},
		"a file system":                 {lost(func(b []byte) { clear(b[:headersSize]); copy(b[1080:], "\x53\xef") }), Over{NewerHeader: true}, ErrForeignData, false},
		"a file system, told":           {lost(func(b []byte) { clear(b[:headersSize]); copy(b[1080:], "\x53\xef") }), Over{ForeignData: true}, nil, false},
		"a file system over one copy":   {lost(func(b []byte) { clear(b[:headerSize]); copy(b[1080:], "\x53\xef") }), Over{}, nil, false},
		"a bad checksum, another disk":  {lost(func(b []byte) { copy(b, other.content[:headersSize]); b[100] ^= 1; b[headerSize+100] ^= 1 }), Over{NewerHeader: true, ForeignData: true}, ErrOtherDisk, false},
		"no magic, another disk":        {lost(func(b []byte) { copy(b, other.content[:headersSize]); clear(b[:8]); clear(b[headerSize:][:8]) }), Over{}, ErrOtherDisk, false},
		"no magic, itself":              {lost(func(b []byte) { clear(b[:8]); clear(b[headerSize:][:8]) }), Over{}, nil, false},
		"no magic, newer":               {lost(func(b []byte) { copy(b, newer); clear(b[:8]); clear(b[headerSize:][:8]) }), Over{}, ErrNewerHeader, false},
		"LUKS1 of another disk": {lost(func(b []byte) {
			clear(b[:headersSize])
			copy(b, "LUKS\xba\xbe\x00\x01")
			copy(b[168:], other.content[168:208])
		}), Over{}, ErrOtherDisk, false},
		"nothing but a RAID superblock at the end": {lost(func(b []byte) { clear(b); copy(b[len(b)-8192:], "\xfc\x4e\x2b\xa9") }), Over{}, ErrForeignData, false},
		"LUKS1 without a UUID":                     {lost(func(b []byte) { clear(b[:headersSize]); copy(b, "LUKS\xba\xbe\x00\x01") }), Over{}, ErrForeignData, false},
		"headers lost, its keyslot":                {lost(func(b []byte) { clear(b[:headersSize]) }), Over{}, nil, false},
		"headers lost, another's":                  {lost(func(b []byte) { clear(b[:headersSize]); copy(b[headersSize:], other.content[headersSize:][:areaSize]) }), Over{}, ErrForeignData, false},
		"headers lost, it is told":                 {lost(func(b []byte) { clear(b[:headersSize]); copy(b[headersSize:], other.content[headersSize:][:areaSize]) }), Over{ForeignData: true}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := k.file(t, tc.content)
			done, err := k.backup.Restore(t.Context(), path, tc.over)
			after, readErr := os.ReadFile(path)
			require.NoError(t, readErr)
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
				assert.True(t, bytes.Equal(tc.content, after), "written to")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.journal, done.EmptyJournal)
			assert.Equal(t, slices.Contains(unidentified, name), done.Unidentified)
			want := regionSize + journalSections(t)*journalSectionSectors*512
			assert.True(t, bytes.Equal(k.content[:want], after[:want]))
			assert.True(t, bytes.Equal(tc.content[want:], after[want:]), "data was written to")
			d, err := Open(t.Context(), path)
			require.NoError(t, err)
			assert.NoError(t, d.Prove(k.key))
		})
	}
}

// TestRestoreReadsTheDiskAgain: what is judged at the end was read from the disk, and
// not from the cache of what was written.
func TestRestoreReadsTheDiskAgain(t *testing.T) {
	k := newKeptDisk(t)
	content := bytes.Clone(k.content)
	clear(content[:headersSize])
	loop := attachLoop(t, k.file(t, content))
	before := sectorsRead(t, loop)
	_, err := k.backup.Restore(t.Context(), loop, Over{})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, sectorsRead(t, loop)-before, int64(2*regionSize/512), "once before, once after")
}

func sectorsRead(t *testing.T, device string) (n int64) {
	t.Helper()
	stat, err := os.ReadFile("/sys/block/" + filepath.Base(device) + "/stat")
	require.NoError(t, err)
	var ios, merged int64
	_, err = fmt.Sscan(string(stat), &ios, &merged, &n)
	require.NoError(t, err)
	return n
}

// TestCutDuringRestore takes the power away at every point. Whatever the disk was, it
// is refused or restored, and never one that a boot would format.
func TestCutDuringRestore(t *testing.T) {
	k := newKeptDisk(t)
	h, area, _ := preparedDisk(t)
	starts := map[string][]byte{
		"zeros":    make([]byte, metadataSize),
		"marked":   append([]byte(interrupted), make([]byte, metadataSize-len(interrupted))...),
		"prepared": image(t, h, area),
		"itself":   k.content[:metadataSize],
	}
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			var r recorder
			require.NoError(t, target{region: k.backup.region, journal: emptyJournal(journalSections(t))}.write(&r))
			flushed := slices.Concat(start, k.content[metadataSize:])
			content := bytes.Clone(flushed)
			var pending []write
			begun := false
			for i, w := range r.writes {
				if w.bytes != nil {
					pending = append(pending, w)
					if begun { // until then it is what it was
						ways := keptSectors(pending)
						for _, kept := range ways[:min(12, len(ways))] { // each verdict reads the whole disk
							copy(content, flushed)
							apply(content, kept)
							requireNotNew(t, content, i)
						}
					}
					if i == len(r.writes)-2 {
						requireUnfinished(t, flushed)
					}
					continue
				}
				apply(flushed, pending)
				pending, begun = nil, true
				requireNotNew(t, flushed, i)
			}
			assert.True(t, bytes.Equal(k.content, flushed))
		})
	}
}

// requireUnfinished is for a disk that is complete but for its first sector, whatever it
// was before: no part of a restored header counts.
func requireUnfinished(t *testing.T, content []byte) {
	t.Helper()
	_, err := diskOf(content)
	require.ErrorContains(t, err, "primary header checksum")
}

func requireNotNew(t *testing.T, content []byte, write int) {
	t.Helper()
	f, err := memoryFile(content)
	require.NoError(t, err)
	defer f.Close()
	r, err := Inspect(t.Context(), f.Name())
	require.NoError(t, err)
	if r.Refusal == nil {
		require.Equal(t, Joined, r.Device.State(), "write %d", write)
	}
}

func TestJournal(t *testing.T) {
	journal := emptyJournal(3)
	assert.True(t, journalIntact(journal))
	for sector := range len(journal) / 512 {
		journal[sector*512+504] ^= 1
		require.False(t, journalIntact(journal), "sector %d", sector)
		journal[sector*512+504] ^= 1
	}
	section := journalSectionSectors * 512
	assert.False(t, journalIntact(journal[section:]), "another section")
	assert.False(t, journalIntact(make([]byte, section)), "zeros")
}

// TestRestoreIsVerified: a disk that returns something else than was written.
func TestRestoreIsVerified(t *testing.T) {
	k := newKeptDisk(t)
	lying := bytes.Clone(k.content)
	lying[headersSize+5] ^= 1
	f, err := os.Open(k.file(t, lying))
	require.NoError(t, err)
	defer f.Close()
	assert.ErrorContains(t, k.backup.verify(f, target{size: minSize, region: k.backup.region}), "does not return what was written")
}

// unreadable is a disk that fails once, at that byte.
type unreadable struct {
	*bytes.Reader
	at     int64
	failed bool
}

func (u *unreadable) Read(b []byte) (int, error) {
	left := u.at - (u.Size() - int64(u.Len()))
	if u.failed {
		return u.Reader.Read(b)
	}
	if u.failed = left == 0; u.failed {
		return 0, errBroken
	}
	return u.Reader.Read(b[:min(int64(len(b)), left)])
}

// TestRestoreOverAnUnreadableDisk: a journal that cannot be read is not known to be
// damaged, and holds the last writes.
func TestRestoreOverAnUnreadableDisk(t *testing.T) {
	k := newKeptDisk(t)
	journal := int64(journalSections(t) * journalSectionSectors * 512)
	for _, at := range []int64{0, regionSize - 1, regionSize, regionSize + journal - 1} {
		_, err := k.backup.target(&unreadable{Reader: bytes.NewReader(k.content), at: at})
		require.ErrorIs(t, err, errBroken, "byte %d", at)
	}
	found, err := k.backup.target(&unreadable{Reader: bytes.NewReader(k.content), at: regionSize + journal})
	require.NoError(t, err)
	assert.Nil(t, found.journal)
}

func TestRestoreToADiskThatIsNotThere(t *testing.T) {
	_, err := newKeptDisk(t).backup.Restore(t.Context(), "/no/such/disk", Over{})
	assert.ErrorIs(t, err, os.ErrNotExist)
}
