package disk

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allowedHeader is the allow-list once more, as the text of a header: what libcryptsetup
// is given must match it to the letter.
var allowedHeader = regexp.MustCompile(`^\{"keyslots":\{"0":\{"type":"luks2","key_size":96,` +
	`"af":\{"type":"luks1","stripes":4000,"hash":"sha256"\},` +
	`"area":\{"type":"raw","offset":"([1-9][0-9]{4,7})","size":"385024","encryption":"aes-xts-plain64","key_size":64\},` +
	`"kdf":\{"type":"argon2id","time":([1-9][0-9]{0,3}),"memory":([1-9][0-9]{0,6}),"cpus":[1-4],"salt":"[A-Za-z0-9+/]{43}="\}\}\},` +
	`"tokens":\{.*\},` +
	`"segments":\{"0":\{"type":"crypt","offset":"16777216","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096,` +
	`"integrity":\{"type":"hmac\(sha256\)","journal_encryption":"none","journal_integrity":"none"(,"key_size":32)?\}\}\},` +
	`"digests":\{"0":\{"type":"pbkdf2","keyslots":\["0"\],"segments":\["0"\],"hash":"sha256","iterations":([1-9][0-9]{3,6}),` +
	`"salt":"[A-Za-z0-9+/]{43}=","digest":"[A-Za-z0-9+/]{43}="\}\},` +
	`"config":\{"json_size":"12288","keyslots_size":"16744448"\}\}$`)

var (
	allowedUUID   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	allowedTokens = regexp.MustCompile(`"tokens":\{("0":\{"type":"constellation-state-disk","keyslots":\[\],"diskIsInitialized":(true|false)\})?,?` +
		`("1":\{"type":"disk-mapper-salt","keyslots":\[\],"salt":"[A-Za-z0-9+/]{43}="\})?,?` +
		`("2":\{"type":"disk-mapper-format","keyslots":\[\],"kdf_salt":"[A-Za-z0-9+/]{43}="\})?\},"segments"`)
)

// requireAllowed holds what libcryptsetup would be given for d.
func requireAllowed(t *testing.T, d *Device) {
	t.Helper()
	written, err := d.header.image(d.area)
	require.NoError(t, err, "what is accepted can be written afresh")
	for _, c := range headerCopies {
		raw := written[c.offset : c.offset+headerSize]
		text := strings.TrimRight(string(raw[binarySize:]), "\x00")
		numbers := allowedHeader.FindStringSubmatch(text)
		require.NotNil(t, numbers, text)
		require.Regexp(t, allowedTokens, text)
		offset, passes, memory, rounds := atoi(numbers[1]), atoi(numbers[2]), atoi(numbers[3]), atoi(numbers[5])
		require.True(t, offset >= 32768 && offset <= 16777216-385024 && offset%4096 == 0, text)
		require.True(t, passes*memory <= 1<<23 && passes <= 4096 && memory <= 1<<20, text)
		require.True(t, rounds <= 2_000_000, text)
		require.Equal(t, c.magic+"\x00\x02", string(raw[:8]))
		require.Regexp(t, allowedUUID, strings.TrimRight(string(raw[atUUID:atUUID+40]), "\x00"))
		require.Equal(t, uint64(headerSize), binary.BigEndian.Uint64(raw[atSize:]))
		require.True(t, isZero(raw[atLabel:atCsumAlg]) && isZero(raw[atSubsystem:atOffset]))
	}
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// fuzzed is the verdict on a joined disk of which a part is fuzzed, with
// checksums that fit, so that they keep no mutation from what is behind them.
func fuzzed(f *testing.F) (base *crafted, verdict func() (*Device, error)) {
	base = joinedDisk(f)
	return base, func() (*Device, error) { return diskOf(base.seal()) }
}

func FuzzBinaryHeader(f *testing.F) {
	base, verdict := fuzzed(f)
	f.Add(bytes.Clone(base.image[:binarySize]), bytes.Clone(base.image[headerSize:headerSize+binarySize]))
	for _, row := range binaryCorpus {
		base.with(row.change, func() {
			f.Add(bytes.Clone(base.image[:binarySize]), bytes.Clone(base.image[headerSize:headerSize+binarySize]))
		})
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for i, raw := range [][]byte{first, second} {
			clear(base.image[i*headerSize : i*headerSize+binarySize])
			copy(base.image[i*headerSize:i*headerSize+binarySize], raw)
		}
		if d, err := verdict(); err == nil && d.area != nil {
			requireAllowed(t, d)
		}
	})
}

func FuzzHeaderJSON(f *testing.F) {
	base, verdict := fuzzed(f)
	f.Add(base.json[0])
	for _, rows := range [][]bad{headerCorpus, tokenCorpus} {
		for _, row := range rows {
			base.with(row.change, func() { f.Add(base.json[0]) })
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > jsonSize {
			return
		}
		base.json = [2]string{text, text}
		if d, err := verdict(); err == nil {
			requireAllowed(t, d)
		}
	})
}

// FuzzSuperblock: what is accepted has the one layout, and nothing in it leads
// past the end of the disk or to more memory than a formatter would take.
func FuzzSuperblock(f *testing.F) {
	base, verdict := fuzzed(f)
	f.Add(bytes.Clone(base.image[metadataSize : metadataSize+64]))
	for _, row := range superblockCorpus {
		base.with(row.change, func() { f.Add(bytes.Clone(base.image[metadataSize : metadataSize+64])) })
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		area := base.image[metadataSize : metadataSize+superblockSize]
		clear(area)
		copy(area, raw)
		if _, err := verdict(); err != nil {
			return
		}
		require.Equal(t, "integrt\x00", string(area[:8]))
		require.Contains(t, []string{"\x01\x0f\x20\x00 \x00", "\x04\x0f\x20\x00 \x08"}, string(area[8:12])+" "+string(area[24:25]), "version, interleave, tag size, flags")
		require.Equal(t, []byte{0, 0, 0, 3}, area[25:29], "flags, block size")
		sections := binary.LittleEndian.Uint32(area[atSections:])
		require.Equal(t, uint32(1), sections, "1/128 of 32 MiB holds one section of 132 KiB")
		provided := binary.LittleEndian.Uint64(area[atProvided:])
		require.LessOrEqual(t, provided, uint64(minSize-metadataSize)/512-8-264-256)
		require.True(t, provided > 0 && provided%8 == 0)
		require.True(t, isZero(area[30:]))
	})
}

// FuzzNodeState: what is accepted is the published file and nothing else.
func FuzzNodeState(f *testing.F) {
	f.Add(goldenNodeState)
	f.Add(`{"Role":"Worker","MeasurementSalt":"` + salt32 + `"}`)
	f.Add(`{"Role":"Worker","MeasurementSalt":"` + salt32 + `","measurementSalt":"AAAA"}`)
	f.Fuzz(func(t *testing.T, raw string) {
		salt, err := parseNodeState([]byte(raw))
		if err != nil {
			return
		}
		require.Len(t, salt.Bytes(), 32)
		var members map[string]string
		require.NoError(t, json.Unmarshal([]byte(raw), &members))
		require.Len(t, members, 2)
		require.Contains(t, []string{"ControlPlane", "Worker"}, members["Role"])
		require.Equal(t, base64Of(string(salt.Bytes())), members["MeasurementSalt"])
	})
}
