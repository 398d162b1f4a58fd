package disk

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// realDiskSize is the size of the disks that the headers in testdata are from.
const realDiskSize = 64 << 20

// realDisk is a disk with a header and a superblock that some real tool wrote.
func realDisk(t testing.TB, name string) startOf {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "headers", name+".hdr.gz"))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	raw, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Len(t, raw, headersSize+superblockSize)
	head := make(startOf, headSize)
	copy(head, raw[:headersSize])
	copy(head[metadataSize:], raw[headersSize:])
	return head
}

func (s startOf) verdict(l *ledger) (*Device, error) { return snapshot{s, realDiskSize}.verdict(l) }

// realHeaders are the names of all fixtures.
func realHeaders(t testing.TB) (names []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/headers/*.hdr.gz")
	require.NoError(t, err)
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".hdr.gz"))
	}
	return names
}

// TestRealHeaders holds the allow-list against headers that real tools wrote.
func TestRealHeaders(t *testing.T) {
	states := map[string]State{
		"benchmarked": Joined, "little-memory": Joined, "default-memory": Joined, "passes-4": Joined, "passes-9": Joined,
		"passes-25": Joined, "legacy-padding": Joined, "one-thread": Joined, "one-cpu": Joined,
		"token-false": Prepared, "token-true": Joined, "changed-key": Joined, "changed-key-twice": Joined,
	}
	want := map[string]State{"disk-mapper-prepared": Prepared, "disk-mapper-joined": Joined}
	for _, version := range []string{"2.3.7", "2.6.1", "2.7.5"} {
		for end, state := range states {
			want["cryptsetup-"+version+"-"+end] = state
		}
	}
	refused := map[string]string{ // the default of cryptsetup before 2.4, which no cluster had
		"cryptsetup-2.3.7-changed-key":       `keyslot kdf type: found "argon2i", want argon2id`,
		"cryptsetup-2.3.7-changed-key-twice": `keyslot kdf type: found "argon2i", want argon2id`,
	}
	assert.Len(t, realHeaders(t), len(want))
	for name, state := range want {
		t.Run(name, func(t *testing.T) {
			s := realDisk(t, name)
			d, err := s.verdict(&ledger{})
			if why := refused[name]; why != "" {
				var refusal *Refusal
				require.ErrorAs(t, err, &refusal)
				assert.ErrorContains(t, err, why)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, state, d.State())
			assertSameHeader(t, s, d)
		})
	}
}

// assertSameHeader: what is written afresh says all that the disk said, and
// nothing else.
func assertSameHeader(t *testing.T, found []byte, d *Device) {
	t.Helper()
	fresh, err := d.header.image(d.area)
	require.NoError(t, err)
	for _, c := range headerCopies {
		was, is := found[c.offset:c.offset+headerSize], fresh[c.offset:c.offset+headerSize]
		assert.JSONEq(t, jsonArea(was), jsonArea(is), c.name)
		a, b := binaryPart(t, was), binaryPart(t, is)
		a.Csum, b.Csum = [64]byte{}, [64]byte{} // the members are in another order
		a.Salt, b.Salt = [64]byte{}, [64]byte{} // cryptsetup gives each copy one of its own
		assert.Equal(t, a, b, c.name)
	}
}

// TestIntegrityKeySize: cryptsetup 2.8 may say how long the key of the integrity
// is. That version was not to be had, so this is a header of 2.7.5 with that
// member added.
func TestIntegrityKeySize(t *testing.T) {
	s := realDisk(t, "cryptsetup-2.7.5-token-true")
	editJSON(t, s, `"journal_integrity":"none"`, `"journal_integrity":"none","key_size":32`)
	d, err := s.verdict(&ledger{})
	require.NoError(t, err)
	assert.Equal(t, Joined, d.State())
	assertSameHeader(t, s, d)
}

func jsonArea(copy []byte) string {
	text, _, _ := bytes.Cut(copy[binarySize:], []byte{0})
	return string(text)
}

func binaryPart(t *testing.T, copy []byte) binaryHeader {
	t.Helper()
	var b binaryHeader
	_, err := binary.Decode(copy, binary.BigEndian, &b)
	require.NoError(t, err)
	return b
}

// editJSON replaces text that occurs once in the JSON of both copies.
func editJSON(t testing.TB, headers []byte, old, now string) {
	t.Helper()
	for _, c := range headerCopies {
		editCopy(t, headers[c.offset:c.offset+headerSize], old, now)
	}
}

func editCopy(t testing.TB, copied []byte, old, now string) {
	t.Helper()
	text := jsonArea(copied)
	require.Equal(t, 1, strings.Count(text, old), "%s in %s", old, text)
	clear(copied[binarySize:])
	copy(copied[binarySize:], strings.Replace(text, old, now, 1))
	seal(copied)
}

// seal makes the checksum of a copy right, as anybody can.
func seal(copied []byte) {
	sum := checksum(copied)
	copy(copied[checksumOffset:], sum[:])
}
