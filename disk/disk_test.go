package disk

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// preparedDisk is the metadata of a disk as Format leaves it, and its key.
func preparedDisk(t testing.TB) (header, []byte, keys.DiskKey) {
	t.Helper()
	key := keys.RandomDiskKey()
	h, area, err := newHeader(random(volumeKeySize), key)
	require.NoError(t, err)
	return h, area, key
}

// diskFile writes an image of a small disk and returns its path.
func diskFile(t testing.TB, metadata []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, metadata, 0o600))
	require.NoError(t, os.Truncate(path, minSize))
	return path
}

func image(t testing.TB, h header, area []byte) []byte {
	t.Helper()
	raw, err := h.image(area)
	require.NoError(t, err)
	return raw
}

func TestOpenKnowsItsOwnDisks(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*header)
		want   State
	}{
		"prepared":                            {func(*header) {}, Prepared},
		"prepared by a daemon of v2.10":       {func(h *header) { delete(h.metadata.Tokens, "2") }, Prepared},
		"joined, no token as before v2.10":    {func(h *header) { clear(h.metadata.Tokens) }, Joined},
		"joined, state token of v2.10":        {func(h *header) { h.metadata.Tokens["0"] = joinedTokens(salt(t))["0"] }, Joined},
		"joined, enrolled by us":              {func(h *header) { h.metadata.Tokens = joinedTokens(salt(t)) }, Joined},
		"joined, only the key changed (v2.2)": {func(h *header) { h.metadata.Tokens = formattedTokens(keyslot{KDF: kdf{Salt: random(32)}}) }, Joined},
		"joined, state token removed":         {func(h *header) { delete(h.metadata.Tokens, "0") }, Joined},
	} {
		t.Run(name, func(t *testing.T) {
			h, area, key := preparedDisk(t)
			tc.change(&h)
			d, err := Open(t.Context(), diskFile(t, image(t, h, area)))
			require.NoError(t, err)
			assert.Equal(t, tc.want, d.State())
			assert.Equal(t, h.id, d.ID())
			assert.NoError(t, d.Prove(key))
			assert.ErrorIs(t, d.Prove(keys.RandomDiskKey()), keys.ErrWrongKey)
		})
	}
}

func salt(t testing.TB) keys.MeasurementSalt {
	t.Helper()
	s, err := keys.NewMeasurementSalt(random(keys.Size))
	require.NoError(t, err)
	return s
}

func TestOpenBlank(t *testing.T) {
	d, err := Open(t.Context(), diskFile(t, nil))
	require.NoError(t, err)
	assert.Equal(t, Blank, d.State())
	assert.True(t, d.Zero())
	assert.Error(t, d.Prove(keys.RandomDiskKey()), "a blank disk has no keyslot")

	d, err = Open(t.Context(), diskFile(t, bytes.Repeat([]byte("noise "), 1<<20)))
	require.NoError(t, err)
	assert.Equal(t, Blank, d.State())
	assert.False(t, d.Zero())
}

// TestTokensAreThePublishedOnes pins the JSON that clusters read and write.
func TestTokensAreThePublishedOnes(t *testing.T) {
	formatted := formattedTokens(keyslot{KDF: kdf{Salt: goldenSalt(t).Bytes()}})
	assert.Len(t, formatted, 2)
	assert.Equal(t, `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":false}`, string(formatted["0"]))
	assert.Equal(t, `{"type":"disk-mapper-format","keyslots":[],"kdf_salt":"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="}`, string(formatted["2"]))
	joined := joinedTokens(goldenSalt(t))
	assert.Len(t, joined, 2)
	assert.Equal(t, `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":true}`, string(joined["0"]))
	assert.Equal(t, `{"type":"disk-mapper-salt","keyslots":[],"salt":"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="}`, string(joined["1"]))
}

func TestSaltComesFromTheToken(t *testing.T) {
	h, area, _ := preparedDisk(t)
	want := salt(t)
	h.metadata.Tokens = joinedTokens(want)
	d, err := Open(t.Context(), diskFile(t, image(t, h, area)))
	require.NoError(t, err)
	got, ok := d.Salt()
	require.True(t, ok)
	assert.Equal(t, want.Bytes(), got.Bytes())
}

// TestLibcryptsetupOpensOurHeaders holds keyslot, digest, JSON and checksums
// against the real library.
func TestLibcryptsetupOpensOurHeaders(t *testing.T) {
	h, area, key := preparedDisk(t)
	path := diskFile(t, image(t, h, area))
	open := func(key keys.DiskKey) ([]byte, error) {
		cmd := exec.Command("cryptsetup", "open", "--test-passphrase", "--key-file=-", path)
		cmd.Stdin = bytes.NewReader(key.Bytes())
		return cmd.CombinedOutput()
	}
	out, err := open(key)
	require.NoError(t, err, "%s", out)
	out, err = open(keys.RandomDiskKey())
	require.Error(t, err)
	assert.Contains(t, string(out), "No key available")
}

func TestEnroll(t *testing.T) {
	h, area, key := preparedDisk(t)
	path := diskFile(t, image(t, h, area))
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	final, wantSalt := keys.RandomDiskKey(), salt(t)

	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.ErrorIs(t, d.Enroll(final, final, wantSalt), keys.ErrWrongKey)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "a failed enrolment writes nothing")

	require.ErrorIs(t, d.Enroll(key, keys.DiskKey{}, wantSalt), keys.ErrLength, "an empty passphrase opens for everybody")
	require.ErrorIs(t, d.Enroll(key, final, keys.MeasurementSalt{}), keys.ErrLength)
	require.NoError(t, d.Enroll(key, final, wantSalt))
	joined, err := Open(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, Joined, joined.State())
	assert.Equal(t, d.ID(), joined.ID())
	assert.NoError(t, joined.Prove(final))
	assert.ErrorIs(t, joined.Prove(key), keys.ErrWrongKey)
	assert.Error(t, joined.Enroll(final, key, wantSalt), "joined once")
	_, err = joined.Format(t.Context(), key, nil)
	assert.ErrorContains(t, err, "refusing to format")
}

// TestOpenRefuses breaks one thing a row. Every row must name it and leave the
// disk as it was.
func TestOpenRefuses(t *testing.T) {
	type disk struct {
		h     header
		bytes func([]byte)
		atEnd map[int]string // distance from the end
	}
	meta := func(change func(*metadata)) func(*disk) { return func(d *disk) { change(&d.h.metadata) } }
	slot := func(change func(*keyslot)) func(*disk) {
		return meta(func(m *metadata) { k := m.Keyslots["0"]; change(&k); m.Keyslots["0"] = k })
	}
	seg := func(change func(*segment)) func(*disk) {
		return meta(func(m *metadata) {
			s := m.Segments["0"]
			i := *s.Integrity
			s.Integrity = &i
			change(&s)
			m.Segments["0"] = s
		})
	}
	dig := func(change func(*digest)) func(*disk) {
		return meta(func(m *metadata) { d := m.Digests["0"]; change(&d); m.Digests["0"] = d })
	}
	tok := func(id, token string) func(*disk) {
		return meta(func(m *metadata) { m.Tokens[id] = json.RawMessage(token) })
	}
	raw := func(change func([]byte)) func(*disk) { return func(d *disk) { d.bytes = change } }
	put := func(at int, s string) func(*disk) { return raw(func(b []byte) { copy(b[at:], s) }) }
	blank := func(at int, s string) func(*disk) {
		return raw(func(b []byte) { clear(b); copy(b[at:], s) })
	}

	for name, tc := range map[string]struct {
		change func(*disk)
		field  string
	}{
		"null keyslot":           {slot(func(k *keyslot) { k.Area.Encryption = "cipher_null-ecb" }), "keyslot area encryption"},
		"null segment":           {seg(func(s *segment) { s.Encryption = "cipher_null-ecb" }), "segment encryption"},
		"capi segment":           {seg(func(s *segment) { s.Encryption = "capi:xts(ecb(aes-generic))-plain64" }), "segment encryption"},
		"no integrity":           {seg(func(s *segment) { s.Integrity = nil }), "segment integrity"},
		"weak integrity":         {seg(func(s *segment) { s.Integrity.Type = "crc32c" }), "segment integrity type"},
		"journal integrity":      {seg(func(s *segment) { s.Integrity.JournalIntegrity = "hmac(sha256)" }), "journal_integrity"},
		"integrity key size":     {seg(func(s *segment) { s.Integrity.KeySize = 64 }), "integrity key_size"},
		"linear segment":         {seg(func(s *segment) { s.Type = "linear" }), "segment type"},
		"segment at 0":           {seg(func(s *segment) { s.Offset = "0" }), "segment offset"},
		"segment of fixed size":  {seg(func(s *segment) { s.Size = "4096" }), "segment size"},
		"small sectors":          {seg(func(s *segment) { s.SectorSize = 512 }), "segment sector_size"},
		"iv tweak":               {seg(func(s *segment) { s.IVTweak = "8" }), "segment iv_tweak"},
		"two segments":           {meta(func(m *metadata) { m.Segments["1"] = m.Segments["0"] }), "segments"},
		"two keyslots":           {meta(func(m *metadata) { m.Keyslots["1"] = m.Keyslots["0"] }), "keyslots"},
		"keyslot 1":              {meta(func(m *metadata) { m.Keyslots["1"] = m.Keyslots["0"]; delete(m.Keyslots, "0") }), "keyslots"},
		"no digest":              {meta(func(m *metadata) { clear(m.Digests) }), "digests"},
		"reencryption keyslot":   {slot(func(k *keyslot) { k.Type = "reencrypt" }), "keyslot type"},
		"area before the data":   {slot(func(k *keyslot) { k.Area.Offset = "4096" }), "keyslot area offset"},
		"area in the data":       {slot(func(k *keyslot) { k.Area.Offset = strconv.Itoa(metadataSize - 4096) }), "keyslot area offset"},
		"area with a sign":       {slot(func(k *keyslot) { k.Area.Offset = "+32768" }), "keyslot area offset"},
		"area size":              {slot(func(k *keyslot) { k.Area.Size = "18446744073709551615" }), "keyslot area size"},
		"one stripe":             {slot(func(k *keyslot) { k.AF.Stripes = 1 }), "stripes"},
		"pbkdf2":                 {slot(func(k *keyslot) { k.KDF = kdf{Type: "pbkdf2", Hash: "sha256", Iterations: 1, Salt: k.KDF.Salt} }), "kdf type"},
		"argon2i":                {slot(func(k *keyslot) { k.KDF.Type = "argon2i" }), "kdf type"},
		"passes without end":     {slot(func(k *keyslot) { k.KDF.Time = 1<<31 - 1 }), "kdf time"},
		"passes at no memory":    {slot(func(k *keyslot) { k.KDF.Time = 4097 }), "kdf time"},
		"memory without end":     {slot(func(k *keyslot) { k.KDF.Memory = 4 << 20 }), "kdf memory"},
		"cpus without end":       {slot(func(k *keyslot) { k.KDF.CPUs = 1<<31 - 1 }), "kdf cpus"},
		"digest rounds":          {dig(func(d *digest) { d.Iterations = 1<<31 - 1 }), "digest iterations"},
		"digest of other slot":   {dig(func(d *digest) { d.Keyslots = []string{"1"} }), "digest keyslots"},
		"config":                 {meta(func(m *metadata) { m.Config.KeyslotsSize = "0" }), "keyslots_size"},
		"token of another type":  {tok("0", `{"type":"luks2-keyring","keyslots":[]}`), "token 0"},
		"token not a bool":       {tok("0", `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":"false"}`), "token 0"},
		"token without the bool": {tok("0", `{"type":"constellation-state-disk","keyslots":[]}`), "token 0"},
		"token with keyslots":    {tok("0", `{"type":"constellation-state-disk","keyslots":["0"],"diskIsInitialized":false}`), "token 0"},
		"token with more":        {tok("0", `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":false,"x":1}`), "token 0"},
		"format token malformed": {tok("2", `{"type":"disk-mapper-format","keyslots":[]}`), "token 2"},
		"unknown token":          {tok("3", `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":false}`), "token 3"},
		"short salt":             {tok("1", `{"type":"disk-mapper-salt","keyslots":[],"salt":"AAAA"}`), "token 1"},
		"seqid":                  {func(d *disk) { d.h.seqID = ^uint64(0) }, "seqid"},
		"checksum":               {put(checksumOffset, "x"), "primary header checksum"},
		"second checksum":        {put(headerSize+checksumOffset, "x"), "secondary header checksum"},
		"second header gone":     {raw(func(b []byte) { clear(b[headerSize:headersSize]) }), "secondary header magic"},
		"first header gone":      {raw(func(b []byte) { clear(b[:headerSize]) }), "signature"},
		"first sector gone":      {raw(func(b []byte) { clear(b[:512]) }), "signature"},
		"version 3":              {raw(func(b []byte) { b[7] = 3 }), "signature"},
		"LUKS1":                  {blank(0, "LUKS\xba\xbe\x00\x01"), "signature"},
		"BitLocker":              {blank(3, "-FVE-FS-"), "signature"},
		"partition table":        {blank(510, "\x55\xaa"), "signature"},
		"ext4":                   {blank(1080, "\x53\xef"), "signature"},
		"header wiped":           {raw(func(b []byte) { clear(b[:metadataSize]); copy(b[metadataSize:], "integrt\x00") }), "signature"},
		"RAID at the end":        {func(d *disk) { d.atEnd = map[int]string{8192: "\xfc\x4e\x2b\xa9"} }, "signature"},
		"header far away":        {blank(0x400000, secondaryMagic), "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			h, area, _ := preparedDisk(t)
			d := disk{h: h, bytes: func([]byte) {}}
			tc.change(&d)
			content := image(t, h, area) // with the keyslot area where it was
			for _, c := range headerCopies {
				raw, err := d.h.encode(c.magic, c.offset)
				require.NoError(t, err)
				copy(content[c.offset:], raw)
			}
			content = append(content, make([]byte, minSize-len(content))...)
			d.bytes(content)
			for distance, magic := range d.atEnd {
				clear(content)
				copy(content[len(content)-distance:], magic)
			}
			path := diskFile(t, content)
			before, err := os.ReadFile(path)
			require.NoError(t, err)

			_, err = Open(t.Context(), path)
			var refusal *Refusal
			require.ErrorAs(t, err, &refusal)
			assert.Contains(t, refusal.Field, tc.field)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(before, after), "the disk was written")
		})
	}
}

func TestOpenRefusesSmallAndUnreadableDisks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := Open(t.Context(), path)
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, "size", refusal.Field)

	_, err = Open(t.Context(), path+"-missing")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzVerdict(f *testing.F) {
	h, area, _ := preparedDisk(f)
	raw := image(f, h, area)
	f.Add(raw[:headersSize])
	f.Add(make([]byte, headersSize))
	f.Fuzz(func(t *testing.T, headers []byte) {
		s := snapshot{head: make([]byte, metadataSize+superblockSize), tail: make([]byte, tailSize), size: minSize}
		copy(s.head, headers)
		for _, c := range headerCopies { // let mutations get past the checksum
			sum := checksum(s.head[c.offset:])
			copy(s.head[c.offset+checksumOffset:], sum[:])
		}
		d, err := s.verdict()
		if err != nil || d.area == nil {
			return
		}
		_, err = d.header.image(d.area)
		require.NoError(t, err, "what is accepted can be written afresh")
		require.NoError(t, d.header.metadata.check())
	})
}
