package disk

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"os"
	"strings"
	"sync"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// crafted is the image of a disk that somebody has worked on: the text of the
// header's JSON, and all bytes of the disk. Nothing of the code under test
// stands between a change and the image.
type crafted struct {
	testing.TB
	json  [2]string // of the copies
	image []byte
	raw   []func() // changes after the checksums
	key   keys.DiskKey
}

// joinedDisk is a disk that this daemon would wait for. All are alike: to make a
// keyslot for each would take minutes under the race detector.
func joinedDisk(t testing.TB) *crafted {
	pristine.Lock()
	defer pristine.Unlock()
	if pristine.joined == nil {
		h, area, key := preparedDisk(t)
		h.metadata.Tokens = joinedTokens(salt(t))
		pristine.joined = craft(t, h, area, key)
	}
	c := pristine.joined
	return &crafted{TB: t, json: c.json, image: mapped(t, c.image), key: c.key}
}

// mapped is a copy that the race detector does not follow: it takes a tenth of a
// second for each image of the heap.
func mapped(t testing.TB, content []byte) []byte {
	b, err := unix.Mmap(-1, 0, len(content), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(b)) })
	copy(b, content)
	return b
}

var pristine struct {
	sync.Mutex
	joined *crafted
}

// newDisk is a disk that this daemon would format again.
func newDisk(t testing.TB) *crafted {
	h, area, key := preparedDisk(t)
	return craft(t, h, area, key)
}

func craft(t testing.TB, h header, area []byte, key keys.DiskKey) *crafted {
	json, err := h.metadata.encode()
	require.NoError(t, err)
	c := &crafted{TB: t, json: [2]string{string(json), string(json)}, image: make([]byte, minSize), key: key}
	copy(c.image, image(t, h, area))
	c.put(metadataSize, string(superblockOf(minSize)))
	return c
}

// with works on the disk for the time of use, and takes everything back.
func (c *crafted) with(change func(*crafted), use func()) {
	json, image := c.json, c.image
	headers, superblock := bytes.Clone(image[:headersSize]), bytes.Clone(image[metadataSize:metadataSize+superblockSize])
	change(c)
	c.seal()
	use()
	c.json, c.image, c.raw = json, image, nil
	copy(image, headers)
	copy(image[metadataSize:], superblock)
}

// superblockOf is what a formatter writes on a disk of this size.
func superblockOf(size uint64) []byte {
	sections := mostJournalSections(size / 512)
	b := superblock{
		Magic: [8]byte([]byte("integrt\x00")), Version: 4, Log2Interleave: log2Interleave, TagSize: tagSize,
		JournalSections: sections, Flags: fixedPadding, Log2BlockSectors: 3, Log2BitmapBlocks: log2BitmapBlocks,
	}
	for bit := uint64(1) << 50; bit > 0; bit >>= 1 {
		b.ProvidedSectors |= bit
		if b.end() > size/512 {
			b.ProvidedSectors &^= bit
		}
	}
	b.ProvidedSectors &^= blockSectors - 1
	raw, _ := binary.Append(nil, binary.LittleEndian, &b)
	return append(raw, make([]byte, superblockSize-len(raw))...)
}

// edit replaces text in the JSON of both copies, first occurrence.
func (c *crafted) edit(old, new string) { c.editCopy(0, old, new); c.editCopy(1, old, new) }

func (c *crafted) editCopy(i int, old, new string) {
	require.Contains(c, c.json[i], old)
	c.json[i] = strings.Replace(c.json[i], old, new, 1)
}

// put overwrites bytes of the image; a negative place counts from the end.
func (c *crafted) put(at int, s string) {
	if at < 0 {
		at += len(c.image)
	}
	copy(c.image[at:], s)
}

// both overwrites bytes of both binary headers.
func (c *crafted) both(at int, s string) { c.put(at, s); c.put(headerSize+at, s) }

// number overwrites an integer of the binary header of one copy.
func (c *crafted) number(copy, at int, n uint64) {
	c.put(copy*headerSize+at, string(binary.BigEndian.AppendUint64(nil, n)))
}

// later is a change that the checksums do not cover.
func (c *crafted) later(change func()) { c.raw = append(c.raw, change) }

// only makes a disk that has nothing but s, at this place.
func (c *crafted) only(at int, s string) {
	c.later(func() { clear(c.image); c.put(at, s) })
}

// keyslot returns the JSON text of the keyslot, without its braces.
func (c *crafted) keyslot() string {
	text := c.json[0][len(`{"keyslots":{"0":{`):]
	end := strings.Index(text, `}},"tokens"`)
	require.Positive(c, end)
	return text[:end]
}

// Where the fields of the binary header lie.
const (
	atVersion   = 6
	atSize      = 8
	atSeqID     = 16
	atLabel     = 24
	atCsumAlg   = 72
	atUUID      = 168
	atSubsystem = 208
	atOffset    = 256
	atPadding   = 264
	atPadding4K = 512
)

// seal puts the JSON and the checksums in their places.
func (c *crafted) seal() []byte {
	for i, h := range headerCopies {
		area := c.image[h.offset+binarySize : h.offset+headerSize]
		clear(area)
		if copy(area, c.json[i]) < len(c.json[i]) {
			panic("the JSON does not fit")
		}
		clear(c.image[h.offset+checksumOffset : h.offset+checksumOffset+64])
		sum := checksum(c.image[h.offset : h.offset+headerSize])
		copy(c.image[h.offset+checksumOffset:], sum[:])
	}
	for _, change := range c.raw {
		change()
	}
	return c.image
}

// write leaves the image in a sparse file.
func (c *crafted) write(path string) {
	image := c.seal()
	f, err := os.Create(path)
	require.NoError(c, err)
	defer f.Close()
	require.NoError(c, f.Truncate(int64(len(image))))
	for at := 0; at < len(image); at += 4096 {
		if block := image[at:min(at+4096, len(image))]; !isZero(block) {
			_, err := f.WriteAt(block, int64(at))
			require.NoError(c, err)
		}
	}
}

// diskOf is the verdict on a disk with these bytes, or with this metadata.
func diskOf(content []byte) (*Device, error) {
	if len(content) == metadataSize {
		return snapshot{regions{content, superblockOf(minSize)}, minSize}.verdict(&ledger{})
	}
	return snapshot{bytes.NewReader(content), int64(len(content))}.verdict(&ledger{})
}

// regions is a disk of metadata, a superblock, and zeros, without a copy of them.
type regions struct{ metadata, superblock startOf }

func (r regions) ReadAt(b []byte, at int64) (int, error) {
	n := int64(copy(b, r.metadata[min(at, metadataSize):]))
	_, err := r.superblock.ReadAt(b[n:], max(0, at+n-metadataSize))
	return len(b), err
}

// TestCraftedDisksAreGood: a row of the corpus is refused for what it changes
// and for nothing else.
func TestCraftedDisksAreGood(t *testing.T) {
	for name, tc := range map[string]struct {
		disk *crafted
		want State
	}{"joined": {joinedDisk(t), Joined}, "prepared": {newDisk(t), Prepared}} {
		t.Run(name, func(t *testing.T) {
			d, err := diskOf(tc.disk.seal())
			require.NoError(t, err)
			require.Equal(t, tc.want, d.State())
			require.NoError(t, d.Prove(tc.disk.key))
			require.True(t, bytes.HasPrefix(tc.disk.image, []byte(primaryMagic)))
		})
	}
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
