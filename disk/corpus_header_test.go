package disk

import (
	"strconv"
	"strings"
)

// edit is a change of the JSON text of both copies.
func edit(old, new string) func(*crafted) { return func(c *crafted) { c.edit(old, new) } }

const (
	inJSON       = "primary header "
	areaCipher64 = `"encryption":"aes-xts-plain64","key_size":64`
	segCipher    = `"encryption":"aes-xts-plain64","sector_size":4096`
	intActual    = `"integrity":{"type":"hmac(sha256)","journal_encryption":"none","journal_integrity":"none"}`
	kdfActual    = `"type":"argon2id","time":4,"memory":32,"cpus":1,`
)

func areaCipherTo(s string) func(*crafted) {
	return edit(areaCipher64, `"encryption":"`+s+`","key_size":64`)
}

func segCipherTo(s string) func(*crafted) {
	return edit(segCipher, `"encryption":"`+s+`","sector_size":4096`)
}
func integrityTo(s string) func(*crafted) { return edit(intActual, s) }
func kdfTo(s string) func(*crafted)       { return edit(kdfActual, s) }
func area0To(s string) func(*crafted)     { return edit(`"offset":"32768"`, `"offset":"`+s+`"`) }

// headerCorpus are changes of what the header says in JSON, threats L1 to L18.
var headerCorpus = []bad{
	{"L1", "null keyslot", areaCipherTo("cipher_null-ecb"), inJSON + "keyslot area encryption", "cipher_null-ecb", Tampered},
	{"L1", "null keyslot, short name", areaCipherTo("null"), inJSON + "keyslot area encryption", `"null"`, Tampered},
	{"L1", "null keyslot, no mode", areaCipherTo("cipher_null"), inJSON + "keyslot area encryption", "cipher_null", Tampered},
	{"L1", "no keyslot cipher", areaCipherTo(""), inJSON + "keyslot area encryption", `""`, Tampered},
	{"L2", "null segment", segCipherTo("cipher_null-ecb"), inJSON + "segment encryption", "cipher_null-ecb", Tampered},
	{"L2", "null segment without integrity", func(c *crafted) {
		segCipherTo("cipher_null-ecb")(c)
		c.edit(","+intActual, "")
	}, inJSON + "segment encryption", "cipher_null-ecb", Tampered},
	{"L3", "chosen implementation", segCipherTo("capi:xts(ecb(aes-generic))-plain64"), inJSON + "segment encryption", "capi:", Tampered},
	{"L3", "cipher with short sector numbers", segCipherTo("aes-xts-plain"), inJSON + "segment encryption", "aes-xts-plain", Tampered},
	{"L3", "chosen implementation for the keyslot", areaCipherTo("capi:xts(ecb(aes-generic))-plain64"), inJSON + "keyslot area encryption", "capi:", Tampered},

	{"L4", "second name in capitals", edit(segCipher, segCipher+`,"Encryption":"cipher_null-ecb"`), inJSON + "JSON member /segments/0/Encryption", "unknown", Tampered},
	{"L4", "section in capitals", edit(`"config":`, `"SEGMENTS":{},"config":`), inJSON + "JSON member /SEGMENTS", "unknown", Tampered},
	{"L4", "section with a long s", edit(`"config":`, `"ſegments":{},"config":`), inJSON + `JSON member /ſegments`, "unknown", Tampered},
	{"L4", "second name with an escape", edit(segCipher, segCipher+`,"encr\u0079ption":"cipher_null-ecb"`), inJSON + "JSON member /segments/0/encryption", "twice", Tampered},
	{"L4", "only name in capitals", edit(`"iv_tweak"`, `"IV_TWEAK"`), inJSON + "JSON member /segments/0/IV_TWEAK", "unknown", Tampered},
	{"L5", "duplicate name", edit(segCipher, `"encryption":"cipher_null-ecb",`+segCipher), inJSON + "JSON member /segments/0/encryption", "twice", Tampered},
	{"L5", "duplicate section", edit(`"config":`, `"keyslots":{},"config":`), inJSON + "JSON member /keyslots", "twice", Tampered},
	{"L5", "second document", func(c *crafted) { c.json[0] += "{}"; c.json[1] += "{}" }, inJSON + "JSON", "followed by more data", Tampered},
	{"L5", "bytes behind the NUL", func(c *crafted) { c.json[0] += "\x00{}"; c.json[1] += "\x00{}" }, inJSON + "JSON area", "something else", Tampered},
	{"L5", "NUL in the middle", edit(`,"segments"`, "\x00"+`,"segments"`), inJSON + "JSON area", "something else", Tampered},
	{"L5", "no NUL at the end", func(c *crafted) {
		for i := range c.json {
			c.json[i] += strings.Repeat(" ", jsonSize-len(c.json[i]))
		}
	}, inJSON + "JSON area", "something else", Tampered},
	{"L5", "no JSON", func(c *crafted) { c.json = [2]string{} }, inJSON + "JSON", "malformed", Tampered},
	{"L5", "array", func(c *crafted) { c.json = [2]string{"[]", "[]"} }, inJSON + "JSON", "no object", Tampered},
	{"L5", "null", func(c *crafted) { c.json = [2]string{"null", "null"} }, inJSON + "JSON", "no object", Tampered},
	{"L5", "not UTF-8", edit(`"hmac(sha256)"`, "\"hmac(\xff)\""), inJSON + "JSON", "UTF-8", Tampered},
	{"L5", "truncated", func(c *crafted) {
		for i := range c.json {
			c.json[i] = c.json[i][:len(c.json[i])/2]
		}
	}, inJSON + "JSON", "malformed", Tampered},

	{"L6", "no integrity", edit(","+intActual, ""), inJSON + "segment integrity type", `""`, Tampered},
	{"L6", "integrity none", integrityTo(strings.Replace(intActual, "hmac(sha256)", "none", 1)), inJSON + "segment integrity type", "none", Tampered},
	{"L6", "integrity with SHA-1", integrityTo(strings.Replace(intActual, "hmac(sha256)", "hmac(sha1)", 1)), inJSON + "segment integrity type", "sha1", Tampered},
	{"L6", "integrity aead", integrityTo(strings.Replace(intActual, "hmac(sha256)", "aead", 1)), inJSON + "segment integrity type", "aead", Tampered},
	{"L6", "integrity without a key", integrityTo(strings.Replace(intActual, "hmac(sha256)", "crc32c", 1)), inJSON + "segment integrity type", "crc32c", Tampered},
	{"L6", "integrity null", integrityTo(`"integrity":null`), inJSON + "JSON member /segments/0/integrity", "null", Tampered},
	{"L6", "volume key without integrity", edit(`"key_size":96`, `"key_size":64`), inJSON + "keyslot key_size", "64", Foreign},
	{"L6", "short key of the area", edit(areaCipher64, `"encryption":"aes-xts-plain64","key_size":32`), inJSON + "keyslot area key_size", "32", Tampered},
	{"L7", "journal encrypted", integrityTo(strings.Replace(intActual, `_encryption":"none"`, `_encryption":"cbc(aes)"`, 1)), inJSON + "segment integrity journal_encryption", "cbc", Tampered},
	{"L7", "journal with integrity", integrityTo(strings.Replace(intActual, `_integrity":"none"`, `_integrity":"hmac(sha256)"`, 1)), inJSON + "segment integrity journal_integrity", "hmac", Tampered},
	{"L7", "integrity key of 64 bytes", integrityTo(strings.Replace(intActual, `"}`, `","key_size":64}`, 1)), inJSON + "segment integrity key_size", "64", Tampered},

	{"L8", "two keyslots", func(c *crafted) { c.edit(`}},"tokens"`, `},"1":{`+c.keyslot()+`}},"tokens"`) }, inJSON + "keyslots", "0,1", Foreign},
	{"L8", "keyslot 1", edit(`"keyslots":{"0"`, `"keyslots":{"1"`), inJSON + "keyslots", `"1"`, Foreign},
	{"L8", "keyslot 00", edit(`"keyslots":{"0"`, `"keyslots":{"00"`), inJSON + "keyslots", `"00"`, Foreign},
	{"L8", "no keyslot", func(c *crafted) { c.edit(`"keyslots":{"0":{`+c.keyslot()+`}}`, `"keyslots":{}`) }, inJSON + "keyslots", `""`, Foreign},
	{"L8", "unbound keyslot", edit(`"type":"pbkdf2","keyslots":["0"]`, `"type":"pbkdf2","keyslots":[]`), inJSON + "digest keyslots", `""`, Tampered},
	{"L8", "digest of two keyslots", edit(`"type":"pbkdf2","keyslots":["0"]`, `"type":"pbkdf2","keyslots":["0","1"]`), inJSON + "digest keyslots", "0,1", Tampered},
	{"L8", "keyslot of a reencryption", edit(`"type":"luks2"`, `"type":"reencrypt"`), inJSON + "keyslot type", "reencrypt", Tampered},
	{"L8", "keyslot with a priority", edit(`"type":"luks2"`, `"type":"luks2","priority":2`), inJSON + "JSON member /keyslots/0/priority", "unknown", Tampered},
	{"L8", "no digest", func(c *crafted) {
		at := strings.Index(c.json[0], `"digests":{`)
		end := at + strings.Index(c.json[0][at:], `}},`)
		c.edit(c.json[0][at:end+2], `"digests":{}`)
	}, inJSON + "digests", `""`, Foreign},
	{"L9", "two segments", edit(`"segments":{`, `"segments":{"1":{"type":"crypt","offset":"0","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096},`), inJSON + "segments", "0,1", Foreign},
	{"L9", "linear segment", edit(`"type":"crypt"`, `"type":"linear"`), inJSON + "segment type", "linear", Tampered},
	{"L9", "segment of a reencryption", edit(segCipher, segCipher+`,"flags":["in-reencryption"]`), inJSON + "JSON member /segments/0/flags", "unknown", Tampered},
	{"L9", "backup segment", edit(segCipher, segCipher+`,"flags":["backup-previous"]`), inJSON + "JSON member /segments/0/flags", "unknown", Tampered},
	{"L9", "segment 1", edit(`"segments":{"0"`, `"segments":{"1"`), inJSON + "segments", `"1"`, Foreign},
	{"L9", "digest of no segment", edit(`"segments":["0"]`, `"segments":[]`), inJSON + "digest segments", `""`, Tampered},

	{"L10", "passes without end", kdfTo(`"type":"argon2id","time":2147483647,"memory":32,"cpus":1,`), inJSON + "keyslot kdf time", "2147483647", Tampered},
	{"L10", "passes over much memory", kdfTo(`"type":"argon2id","time":17,"memory":1048576,"cpus":4,`), inJSON + "keyslot kdf time", "17", Tampered},
	{"L10", "many passes over 64 MiB", kdfTo(`"type":"argon2id","time":257,"memory":65536,"cpus":4,`), inJSON + "keyslot kdf time", "257", Tampered},
	{"L10", "passes over little memory", kdfTo(`"type":"argon2id","time":4097,"memory":32,"cpus":1,`), inJSON + "keyslot kdf time", "4097", Tampered},
	{"L10", "no passes", kdfTo(`"type":"argon2id","memory":32,"cpus":1,`), inJSON + "keyslot kdf time", "0", Tampered},
	{"L10", "4 GiB of memory", kdfTo(`"type":"argon2id","time":4,"memory":4194304,"cpus":1,`), inJSON + "keyslot kdf memory", "4194304", Tampered},
	{"L10", "2 TiB of memory", kdfTo(`"type":"argon2id","time":4,"memory":2147483648,"cpus":1,`), inJSON + "keyslot kdf memory", "2147483648", Tampered},
	{"L10", "memory for no lane", kdfTo(`"type":"argon2id","time":4,"memory":31,"cpus":4,`), inJSON + "keyslot kdf memory", "31", Tampered},
	{"L10", "lanes without end", kdfTo(`"type":"argon2id","time":4,"memory":32,"cpus":2147483647,`), inJSON + "keyslot kdf cpus", "2147483647", Tampered},
	{"L10", "five lanes", kdfTo(`"type":"argon2id","time":4,"memory":64,"cpus":5,`), inJSON + "keyslot kdf cpus", "5", Tampered},
	{"L10", "negative passes", kdfTo(`"type":"argon2id","time":-1,"memory":32,"cpus":1,`), inJSON + "JSON member /keyslots/kdf/time", "-1", Tampered},
	{"L10", "passes as a fraction", kdfTo(`"type":"argon2id","time":4.5,"memory":32,"cpus":1,`), inJSON + "JSON member /keyslots/kdf/time", "4.5", Tampered},
	{"L10", "passes as a power", kdfTo(`"type":"argon2id","time":4e0,"memory":32,"cpus":1,`), inJSON + "JSON member /keyslots/kdf/time", "4e0", Tampered},
	{"L10", "passes as text", kdfTo(`"type":"argon2id","time":"4","memory":32,"cpus":1,`), inJSON + "JSON member /keyslots/kdf/time", "string", Tampered},
	{"L10", "passes of 33 bits", kdfTo(`"type":"argon2id","time":4294967300,"memory":32,"cpus":1,`), inJSON + "JSON member /keyslots/kdf/time", "4294967300", Tampered},
	{"L10", "short salt", func(c *crafted) { c.edit(`,"salt":"`, `,"salt":"`+base64Of("short")+`","x":"`) }, inJSON + "JSON member /keyslots/0/kdf/x", "unknown", Tampered},
	{"L11", "digest without end", edit(`"iterations":1000`, `"iterations":2147483647`), inJSON + "digest iterations", "2147483647", Tampered},
	{"L11", "digest of no iteration", edit(`"iterations":1000`, `"iterations":0`), inJSON + "digest iterations", "0", Tampered},
	{"L11", "digest of few iterations", edit(`"iterations":1000`, `"iterations":999`), inJSON + "digest iterations", "999", Tampered},
	{"L11", "digest with another hash", edit(`"hash":"sha256","iterations"`, `"hash":"sha1","iterations"`), inJSON + "digest hash", "sha1", Tampered},
	{"L11", "digest of another type", edit(`"type":"pbkdf2"`, `"type":"none"`), inJSON + "digest type", "none", Tampered},
	{"L12", "pbkdf2 of one iteration", kdfTo(`"type":"pbkdf2","hash":"sha256","iterations":1,`), inJSON + "keyslot kdf type", "pbkdf2", Foreign},
	{"L12", "argon2i", kdfTo(strings.Replace(kdfActual, "argon2id", "argon2i", 1)), inJSON + "keyslot kdf type", `"argon2i"`, Foreign},
	{"L12", "argon2id with a hash", kdfTo(kdfActual + `"hash":"sha256",`), inJSON + "keyslot kdf type", "argon2id", Foreign},

	{"L13", "area in the headers", area0To("4096"), inJSON + "keyslot area offset", "4096", Tampered},
	{"L13", "area over the end of the headers", area0To("28672"), inJSON + "keyslot area offset", "28672", Tampered},
	{"L13", "area in the data", area0To("16777216"), inJSON + "keyslot area offset", "16777216", Tampered},
	{"L13", "area over the start of the data", area0To(strconv.Itoa(metadataSize - 4096)), inJSON + "keyslot area offset", strconv.Itoa(metadataSize - 4096), Tampered},
	{"L13", "area between sectors", area0To("32769"), inJSON + "keyslot area offset", "32769", Tampered},
	{"L13", "area with a sign", area0To("+32768"), inJSON + "keyslot area offset", "+32768", Tampered},
	{"L13", "area of 64 bits", area0To("18446744073709551615"), inJSON + "keyslot area offset", "18446744073709551615", Tampered},
	{"L13", "area before the start", area0To("-4096"), inJSON + "keyslot area offset", "-4096", Tampered},
	{"L13", "size of 64 bits", edit(`"size":"385024"`, `"size":"18446744073709551615"`), inJSON + "keyslot area size", "18446744073709551615", Tampered},
	{"L13", "size of nothing", edit(`"size":"385024"`, `"size":"0"`), inJSON + "keyslot area size", `"0"`, Tampered},
	{"L13", "area type", edit(`"type":"raw"`, `"type":"datashift"`), inJSON + "keyslot area type", "datashift", Tampered},

	{"L14", "segment at 0", edit(`"offset":"16777216"`, `"offset":"0"`), inJSON + "segment offset", `"0"`, Tampered},
	{"L14", "segment in the headers", edit(`"offset":"16777216"`, `"offset":"4096"`), inJSON + "segment offset", "4096", Tampered},
	{"L14", "segment at 1 TiB", edit(`"offset":"16777216"`, `"offset":"1099511627776"`), inJSON + "segment offset", "1099511627776", Tampered},
	{"L14", "segment between sectors", edit(`"offset":"16777216"`, `"offset":"16777217"`), inJSON + "segment offset", "16777217", Tampered},
	{"L14", "segment offset as a number", edit(`"offset":"16777216"`, `"offset":16777216`), inJSON + "JSON member /segments/offset", "number", Tampered},
	{"L14", "segment of fixed size", edit(`"size":"dynamic"`, `"size":"4096"`), inJSON + "segment size", "4096", Tampered},
	{"L15", "sectors of 512 bytes", edit(`"sector_size":4096`, `"sector_size":512`), inJSON + "segment sector_size", "512", Foreign},
	{"L15", "sectors of 2048 bytes", edit(`"sector_size":4096`, `"sector_size":2048`), inJSON + "segment sector_size", "2048", Foreign},
	{"L15", "IV tweak", edit(`"iv_tweak":"0"`, `"iv_tweak":"8"`), inJSON + "segment iv_tweak", `"8"`, Tampered},
	{"L16", "one stripe", edit(`"stripes":4000`, `"stripes":1`), inJSON + "keyslot af stripes", "1", Tampered},
	{"L16", "stripes with SHA-1", edit(`"stripes":4000,"hash":"sha256"`, `"stripes":4000,"hash":"sha1"`), inJSON + "keyslot af hash", "sha1", Tampered},
	{"L16", "stripes of another type", edit(`"type":"luks1"`, `"type":"none"`), inJSON + "keyslot af type", "none", Tampered},
	{"L17", "online reencryption", requirement("online-reencrypt-v2"), inJSON + "JSON member /config/requirements", "unknown", Tampered},
	{"L17", "offline reencryption", requirement("offline-reencrypt"), inJSON + "JSON member /config/requirements", "unknown", Tampered},
	{"L17", "OPAL", requirement("opal"), inJSON + "JSON member /config/requirements", "unknown", Tampered},
	{"L17", "inline tags", requirement("inline-hw-tags"), inJSON + "JSON member /config/requirements", "unknown", Tampered},
	{"L17", "requirement that nobody knows", requirement("tomorrow"), inJSON + "JSON member /config/requirements", "unknown", Tampered},
	{"L18", "discards", configFlag("allow-discards"), inJSON + "JSON member /config/flags", "unknown", Tampered},
	{"L18", "no journal", configFlag("no-journal"), inJSON + "JSON member /config/flags", "unknown", Tampered},
	{"L18", "same CPU", configFlag("same-cpu-crypt"), inJSON + "JSON member /config/flags", "unknown", Tampered},
}

func requirement(s string) func(*crafted) {
	return edit(`"config":{`, `"config":{"requirements":{"mandatory":["`+s+`"]},`)
}

func configFlag(s string) func(*crafted) { return edit(`"config":{`, `"config":{"flags":["`+s+`"],`) }
