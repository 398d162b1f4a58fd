package disk

import (
	"strings"

	"disk-mapper/internal/printable"
)

func number(at int, n uint64) func(*crafted) {
	return func(c *crafted) { c.number(0, at, n); c.number(1, at, n) }
}

func uuidTo(s string) func(*crafted) {
	return func(c *crafted) { c.both(atUUID, s+strings.Repeat("\x00", max(0, 40-len(s)))) }
}

// binaryCorpus are changes of the binary header and between its copies.
var binaryCorpus = []bad{
	{"L20", "no UUID", uuidTo(""), "primary header uuid", `""`, Tampered},
	{"L20", "not a UUID", uuidTo("measurementSecret"), "primary header uuid", "measurementSecret", Tampered},
	{"L20", "UUID in capitals", uuidTo("12345678-90AB-CDEF-1234-567890ABCDEF"), "primary header uuid", "90AB", Tampered},
	{"L20", "UUID that is a path", uuidTo("../../etc/passwd"), "primary header uuid", "../../etc/passwd", Tampered},
	{"L20", "UUID not in UTF-8", uuidTo("\xff2345678-90ab-cdef-1234-567890abcdef"), "primary header uuid", `\xff`, Tampered},
	{"L20", "UUID without an end", uuidTo(strings.Repeat("a", 40)), "primary header uuid", "unterminated", Tampered},
	{"L20", "UUID and more", uuidTo("12345678-90ab-cdef-1234-567890abcdef\x00x"), "primary header uuid", `\x00x`, Tampered},
	{"L20", "UUID with a line end", uuidTo("12345678-90ab-cdef-1234-567890abcdef\n"), "primary header uuid", `\n`, Tampered},

	{"L21", "copies differ under one seqid", func(c *crafted) { c.editCopy(1, kdfActual, strings.Replace(kdfActual, `"time":4`, `"time":5`, 1)) }, "header copies JSON", "two", Tampered},
	{"L21", "newer second copy with a null segment", func(c *crafted) {
		c.number(1, atSeqID, 2)
		c.editCopy(1, segCipher, `"encryption":"cipher_null-ecb","sector_size":4096`)
	}, "secondary header segment encryption", "cipher_null-ecb", Tampered},
	{"L21", "newer first copy with a null segment", func(c *crafted) {
		c.number(0, atSeqID, 2)
		c.editCopy(0, segCipher, `"encryption":"cipher_null-ecb","sector_size":4096`)
	}, "primary header segment encryption", "cipher_null-ecb", Tampered},
	{"L21", "older second copy with a null segment", func(c *crafted) {
		c.number(0, atSeqID, 2)
		c.editCopy(1, segCipher, `"encryption":"cipher_null-ecb","sector_size":4096`)
	}, "secondary header segment encryption", "cipher_null-ecb", Tampered},
	{"L21", "second copy far ahead", func(c *crafted) { c.number(1, atSeqID, 99) }, "header copies seqid", "1 and 99", Tampered},
	{"L21", "first copy far ahead", func(c *crafted) { c.number(0, atSeqID, 3) }, "header copies seqid", "3 and 1", Tampered},
	{"L21", "largest seqid", number(atSeqID, 1<<64-1), "primary header seqid", "18446744073709551615", Tampered},
	{"L21", "seqid 0", number(atSeqID, 0), "primary header seqid", "0", Tampered},
	{"L21", "second copy of another disk", func(c *crafted) { c.put(headerSize+atUUID, "12345678-90ab-cdef-1234-567890abcdef") }, "header copies uuid", "12345678", Tampered},
	{"L21", "second copy with another digest", func(c *crafted) {
		c.number(1, atSeqID, 2)
		c.editCopy(1, `"digest":"`, `"digest":"`+base64Of(strings.Repeat("x", 32))+`"}},"config":{"json_size":"12288","keyslots_size":"16744448"}}`)
		c.json[1] = c.json[1][:strings.Index(c.json[1], `"16744448"}}`)+len(`"16744448"}}`)]
	}, "header copies digest", "two", Tampered},
	{"L21", "copies swapped", func(c *crafted) {
		c.later(func() {
			first := strings.Clone(string(c.image[:headerSize]))
			c.put(0, string(c.image[headerSize:headersSize]))
			c.put(headerSize, first)
		})
	}, "signature", "second LUKS2 header without a first", Damaged},

	{"L24", "size 0", number(atSize, 0), "primary header hdr_size", "0", Foreign},
	{"L24", "size 1", number(atSize, 1), "primary header hdr_size", "1", Foreign},
	{"L24", "size 4095", number(atSize, 4095), "primary header hdr_size", "4095", Foreign},
	{"L24", "size of the next larger header", number(atSize, 0x8000), "primary header hdr_size", "32768", Foreign},
	{"L24", "size of 8 MiB", number(atSize, 8<<20), "primary header hdr_size", "8388608", Foreign},
	{"L24", "size of 63 bits", number(atSize, 1<<63), "primary header hdr_size", "9223372036854775808", Foreign},
	{"L24", "size of 64 bits", number(atSize, 1<<64-1), "primary header hdr_size", "18446744073709551615", Foreign},
	{"L24", "first copy says it is the second", number(atOffset, headerSize), "primary header hdr_offset", "16384", Damaged},
	{"L24", "second copy says it is the first", number(atOffset, 0), "secondary header hdr_offset", "0", Damaged},
	{"L24", "JSON area of another size", edit(`"json_size":"12288"`, `"json_size":"12287"`), "primary header config json_size", "12287", Tampered},
	{"L24", "JSON area without end", edit(`"json_size":"12288"`, `"json_size":"18446744073709551615"`), "primary header config json_size", "18446744073709551615", Tampered},
	{"L24", "keyslots without end", edit(`"keyslots_size":"16744448"`, `"keyslots_size":"18446744073709547520"`), "primary header config keyslots_size", "18446744073709547520", Tampered},
	{"L24", "no room for keyslots", edit(`"keyslots_size":"16744448"`, `"keyslots_size":"0"`), "primary header config keyslots_size", `"0"`, Tampered},

	{"L25", "first checksum", func(c *crafted) { c.later(func() { c.put(checksumOffset, "wrong") }) }, "primary header checksum", "77726f6e67", Damaged},
	{"L25", "second checksum", func(c *crafted) { c.later(func() { c.put(headerSize+checksumOffset, "wrong") }) }, "secondary header checksum", "77726f6e67", Damaged},
	{"L25", "both checksums", func(c *crafted) { c.later(func() { c.both(checksumOffset, "wrong") }) }, "primary header checksum", "77726f6e67", Damaged},
	{"L25", "one bit of the JSON", func(c *crafted) { c.later(func() { c.image[binarySize+10] ^= 1 }) }, "primary header checksum", "", Damaged},
	{"L25", "one bit behind the JSON", func(c *crafted) { c.later(func() { c.image[headerSize-1] ^= 1 }) }, "primary header checksum", "", Damaged},
	{"L25", "bytes behind the checksum", func(c *crafted) { c.later(func() { c.both(checksumOffset+32, "x") }) }, "primary header checksum", "", Damaged},
	{"L25", "checksum algorithm", func(c *crafted) { c.both(atCsumAlg, "sha512\x00") }, "primary header csum_alg", "sha512", Foreign},
	{"L25", "checksum algorithm without an end", func(c *crafted) { c.both(atCsumAlg, strings.Repeat("s", 32)) }, "primary header csum_alg", "unterminated", Foreign},
	{"L25", "label", func(c *crafted) { c.both(atLabel, "cluster") }, "primary header label", "cluster", Foreign},
	{"L25", "subsystem", func(c *crafted) { c.both(atSubsystem, "cluster") }, "primary header subsystem", "cluster", Foreign},
	{"L25", "padding", func(c *crafted) { c.both(atPadding, "x") }, "primary header padding", "data", Tampered},
	{"L25", "padding to 4096", func(c *crafted) { c.both(atPadding4K+3000, "x") }, "primary header padding", "data", Tampered},
}

// token replaces all tokens; text is what stands between the braces.
func token(text string) func(*crafted) {
	return func(c *crafted) {
		for i := range c.json {
			from := strings.Index(c.json[i], `"tokens":{`) + len(`"tokens":{`)
			to := strings.Index(c.json[i], `},"segments"`)
			c.json[i] = c.json[i][:from] + text + c.json[i][to:]
		}
	}
}

const (
	joinedToken = `"0":{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":true}`
	newToken    = `"0":{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":false}`
	inToken0    = "primary header token 0 "
	inMember0   = "primary header token 0 JSON member /"
	salt32      = `QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=`
)

func manyTokens(n int) string {
	all := []string{newToken}
	for i := 1; i < n; i++ {
		all = append(all, `"`+strings.Repeat("1", i)+`":{"type":"x","keyslots":[]}`)
	}
	return strings.Join(all, ",")
}

// tokenCorpus are tokens that are not those of a state disk. All are of disks
// that would be formatted if the token were believed, or its absence were.
var tokenCorpus = []bad{
	{"L19", "type of systemd", token(`"0":{"type":"systemd-tpm2","keyslots":[]}`), inMember0 + "diskIsInitialized", "missing", Tampered},
	{"L19", "other type", token(strings.Replace(newToken, "constellation-state-disk", "luks2-keyring", 1)), inToken0 + "type", "luks2-keyring", Tampered},
	{"L19", "type as a path", token(strings.Replace(newToken, "constellation-state-disk", "../../x", 1)), inToken0 + "type", "../../x", Tampered},
	{"L19", "initialised as text", token(strings.Replace(newToken, "false", `"false"`, 1)), inMember0 + "diskIsInitialized", "string", Tampered},
	{"L19", "initialised as a number", token(strings.Replace(newToken, "false", "0", 1)), inMember0 + "diskIsInitialized", "number", Tampered},
	{"L19", "initialised null", token(strings.Replace(newToken, "false", "null", 1)), "primary header JSON member /tokens/0/diskIsInitialized", "null", Tampered},
	{"L19", "initialised absent", token(strings.Replace(newToken, `,"diskIsInitialized":false`, "", 1)), inMember0 + "diskIsInitialized", "missing", Tampered},
	{"L19", "initialised in capitals", token(strings.Replace(newToken, "diskIs", "DiskIs", 1)), inMember0 + "DiskIsInitialized", "unknown", Tampered},
	{"L19", "initialised twice", token(strings.Replace(newToken, "}", `,"diskIsInitialized":true}`, 1)), "primary header JSON member /tokens/0/diskIsInitialized", "twice", Tampered},
	{"L19", "keyslots", token(strings.Replace(newToken, "[]", `["0"]`, 1)), inToken0 + "keyslots", `"0"`, Tampered},
	{"L19", "keyslots absent", token(strings.Replace(newToken, `"keyslots":[],`, "", 1)), inMember0 + "keyslots", "missing", Tampered},
	{"L19", "more members", token(strings.Replace(newToken, "}", `,"x":1}`, 1)), inMember0 + "x", "unknown", Tampered},
	{"L19", "token as text", token(`"0":"false"`), inToken0 + "JSON", "no object", Tampered},
	{"L19", "nested 3000 deep", token(`"0":` + strings.Repeat(`[`, 3000) + strings.Repeat(`]`, 3000)), "primary header JSON", "deeper", Tampered},
	{"L19", "second state token", token(newToken + `,"3"` + newToken[3:]), "primary header token 3 number", `"3"`, Foreign},
	{"L19", "state token at another number", token(`"1"` + newToken[3:]), "primary header token 1 JSON member /diskIsInitialized", "unknown", Tampered},
	{"L19", "32 tokens", token(manyTokens(32)), "primary header token 1 JSON member /salt", "missing", Tampered},
	{"L19", "unknown token of a long name", token(newToken + `,"` + strings.Repeat("9", 4000) + `":{}`), "primary header token " + strings.Repeat("9", printable.MaxText) + "... (4000 bytes) number", "999", Foreign},
	{"L19", "short salt", token(joinedToken + `,"1":{"type":"disk-mapper-salt","keyslots":[],"salt":"AAAA"}`), "primary header token 1 salt length", "3", Tampered},
	{"L19", "salt absent", token(joinedToken + `,"1":{"type":"disk-mapper-salt","keyslots":[]}`), "primary header token 1 JSON member /salt", "missing", Tampered},
	{"L19", "salt of another type", token(joinedToken + `,"1":{"type":"x","keyslots":[],"salt":"` + salt32 + `"}`), "primary header token 1 type", `"x"`, Tampered},
	{"L19", "salt of a disk that has not joined", token(newToken + `,"1":{"type":"disk-mapper-salt","keyslots":[],"salt":"` + salt32 + `"}`), "primary header tokens", "salt", Tampered},
	{"L19", "salt without a state", token(`"1":{"type":"disk-mapper-salt","keyslots":[],"salt":"` + salt32 + `"}`), "primary header tokens", "salt", Tampered},
	{"L19", "salt beside the mark of the format", token(joinedToken + `,"1":{"type":"disk-mapper-salt","keyslots":[],"salt":"` + salt32 + `"},"2":{"type":"disk-mapper-format","keyslots":[],"kdf_salt":"` + salt32 + `"}`), "primary header tokens", "salt", Tampered},
	{"L19", "format without its salt", token(newToken + `,"2":{"type":"disk-mapper-format","keyslots":[]}`), "primary header token 2 JSON member /kdf_salt", "missing", Tampered},
	{"L19", "format with a short salt", token(newToken + `,"2":{"type":"disk-mapper-format","keyslots":[],"kdf_salt":"AAAA"}`), "primary header token 2 kdf_salt length", "3", Tampered},
	{"L19", "tokens as an array", edit(`"tokens":{`, `"tokens":[],"x":{`), "primary header JSON member /tokens", "array", Tampered},
	{"L19", "no tokens member", func(c *crafted) { token("")(c); c.edit(`"tokens":{},`, "") }, "primary header JSON member /tokens", "missing", Tampered},
}
