//go:build vm

package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nullCipherModule is where the guest finds the kernel module of the null cipher.
// The image has none, but other images may, and without it cryptsetup cannot
// show what it would open.
const nullCipherModule = "/vmtest/crypto_null.ko"

// nullCipher takes the module from the kernel's package that make image fetched.
func nullCipher(t *testing.T, image vmtest.Image) vmtest.File {
	t.Helper()
	packages, err := filepath.Glob(filepath.Join(filepath.Dir(image.Kernel), "../packages/cache/apt/archives/linux-image-[0-9]*.deb"))
	require.NoError(t, err)
	require.NotEmpty(t, packages, "the kernel's package in build/packages: remove build/image and run make image")
	slices.SortFunc(packages, func(a, b string) int { return modified(t, b).Compare(modified(t, a)) })
	module, err := exec.CommandContext(t.Context(), "sh", "-c",
		`dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards '*/crypto_null.ko.xz' | xz -dc`, "sh", packages[0]).Output()
	require.NoError(t, err)
	require.NotEmpty(t, module)
	return vmtest.File{Path: nullCipherModule, Content: module}
}

func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.ModTime()
}

// hostileDisk is a disk that cryptsetup made, after the host has had its way with it.
type hostileDisk struct {
	path string
	was  []byte
	key  keys.DiskKey
}

// cryptsetup runs the real tool on the disk.
func (d hostileDisk) cryptsetup(t *testing.T, stdin []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "cryptsetup", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	t.Logf("cryptsetup %s: %v", strings.Join(args, " "), err)
	return string(out), err
}

// loads: the tool reads the header and finds nothing wrong with it. It returns
// what it says of it.
func (d hostileDisk) loads(t *testing.T) string {
	t.Helper()
	out, err := d.cryptsetup(t, nil, "luksDump", d.path)
	require.NoError(t, err, out)
	return out
}

// passes: the tool is content with header and key.
func (d hostileDisk) passes(t *testing.T) {
	t.Helper()
	out, err := d.cryptsetup(t, d.key.Bytes(), "open", "--test-passphrase", "--key-file=-", d.path)
	require.NoError(t, err, out)
}

// opens: the tool maps the disk. It returns what the kernel maps it as.
func (d hostileDisk) opens(t *testing.T, use func(mapped string)) string {
	t.Helper()
	const mapping = "hostile"
	out, err := d.cryptsetup(t, d.key.Bytes(), "open", "--key-file=-", d.path, mapping)
	require.NoError(t, err, out)
	table := command(t, nil, "dmsetup", "table", mapping)
	use("/dev/mapper/" + mapping)
	command(t, nil, "cryptsetup", "close", mapping)
	return table
}

func (d hostileDisk) content(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile(d.path)
	require.NoError(t, err)
	return content
}

func (d hostileDisk) restore(t *testing.T) {
	t.Helper()
	require.NoError(t, os.WriteFile(d.path, d.was, 0o600))
}

// TestGuestHostileDisks shows for each disk that the real tool loads it, or opens
// it, or even writes to it what the host chose, and that Open refuses it and
// leaves it alone.
func TestGuestHostileDisks(t *testing.T) {
	guestOnly(t)
	command(t, nil, "insmod", nullCipherModule)
	key := keys.RandomDiskKey()
	good := realDiskFor(t, key)
	json := func(old, now string) func(*testing.T, []byte) {
		return func(t *testing.T, disk []byte) { editJSON(t, disk, old, now) }
	}
	const (
		segmentCipher = `"encryption":"aes-xts-plain64","sector_size"`
		integrityPart = `,"integrity":{"type":"hmac(sha256)","journal_encryption":"none","journal_integrity":"none"}`
		configPart    = `"config":{`
	)
	for name, tc := range map[string]struct {
		change func(*testing.T, []byte)
		shown  func(*testing.T, hostileDisk)
		field  string
	}{
		"L1 null keyslot": {nullKeyslot, anyKeyOpens, "keyslot area encryption"},
		"L2 null segment": {func(t *testing.T, disk []byte) {
			editJSON(t, disk, segmentCipher, `"encryption":"cipher_null-ecb","sector_size"`)
			editJSON(t, disk, integrityPart, "")
		}, storesPlainText, "segment"},
		"L3 implementation of the host's choice": {
			json(segmentCipher, `"encryption":"capi:xts(ecb(aes-generic))-plain64","sector_size"`),
			passesAnd("capi:xts(ecb(aes-generic))-plain64"), "segment encryption",
		},
		"L4 other case": {
			json(segmentCipher, `"encryption":"aes-xts-plain64","Encryption":"cipher_null-ecb","sector_size"`),
			passesAnd("aes-xts-plain64"), "JSON",
		},
		"L4 a second name for all segments": {
			json(configPart, `"SEGMENTS":{},"config":{`), passesAnd("aes-xts-plain64"), "JSON",
		},
		"L11 digest without end": {
			json(`"iterations":1000,`, `"iterations":2147483647,`), loadsAnd("2147483647"), "digest iterations",
		},
		"L10 passes without end": {
			json(`"time":4,`, `"time":2147483647,`), loadsAnd("2147483647"), "kdf time",
		},
		"L10 memory without end": {
			json(`"memory":32,`, `"memory":4194304,`), loadsAnd("4194304"), "kdf memory",
		},
		"L14 data elsewhere": {
			json(`"offset":"16777216"`, `"offset":"20971520"`), passesAnd("20971520 [bytes]"), "segment offset",
		},
		"L16 one stripe": {json(`"stripes":4000`, `"stripes":1`), passesAnd("AF stripes: 1"), "stripes"},
		"L17 unknown requirement": {
			json(configPart, `"config":{"requirements":{"mandatory":["of-the-host"]},`), passesAnd("Requirements"), "JSON",
		},
		"L18 flags": {
			json(configPart, `"config":{"flags":["allow-discards","no-journal","same-cpu-crypt"],`),
			passesAnd("allow-discards"), "JSON",
		},
		"L20 a path for UUID":        {uuid("../../etc/passwd"), passesAnd("../../etc/passwd"), "uuid"},
		"L20 empty UUID":             {uuid(""), passesAnd(""), "uuid"},
		"L20 label of a derivation":  {uuid("measurementSecret"), passesAnd("measurementSecret"), "uuid"},
		"L21 newer, hostile copy":    {newerCopy, repairedAs("cipher_null-ecb"), "segment encryption"},
		"L22 only the second header": {func(_ *testing.T, disk []byte) { clear(disk[:6]) }, repairedAs("aes-xts-plain64"), "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			d := hostileDisk{path: filepath.Join(t.TempDir(), "disk"), was: bytes.Clone(good), key: key}
			tc.change(t, d.was)
			d.restore(t)
			tc.shown(t, d)
			d.restore(t)
			_, err := Open(t.Context(), d.path)
			var refusal *Refusal
			require.ErrorAs(t, err, &refusal)
			assert.Contains(t, refusal.Field, tc.field)
			assert.True(t, bytes.Equal(d.was, d.content(t)), "the disk was written")
		})
	}
}

// realDiskFor is a disk that cryptsetup made for key, in a file.
func realDiskFor(t *testing.T, key keys.DiskKey) []byte {
	t.Helper()
	path := diskFile(t, nil)
	command(t, key.Bytes(), "cryptsetup", "luksFormat", "--batch-mode", "--type=luks2", "--cipher=aes-xts-plain64", "--key-size=512",
		"--integrity=hmac-sha256", "--integrity-no-wipe", "--sector-size=4096", "--pbkdf=argon2id", "--pbkdf-memory=32", "--pbkdf-parallel=1",
		"--pbkdf-force-iterations=4", "--key-file=-", path)
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, d.Prove(key), "the disk is good before it is changed")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return content
}

func loadsAnd(says string) func(*testing.T, hostileDisk) {
	return func(t *testing.T, d hostileDisk) { assert.Contains(t, d.loads(t), says) }
}

func passesAnd(says string) func(*testing.T, hostileDisk) {
	return func(t *testing.T, d hostileDisk) {
		assert.Contains(t, d.loads(t), says)
		d.passes(t)
	}
}

// repairedAs: reading the header is enough for the tool to write the host's choice
// over the first copy.
func repairedAs(says string) func(*testing.T, hostileDisk) {
	return func(t *testing.T, d hostileDisk) {
		assert.Contains(t, d.loads(t), says)
		now := d.content(t)
		assert.False(t, bytes.Equal(d.was, now), "the tool wrote nothing")
		assert.Equal(t, primaryMagic, string(now[:6]))
		assert.Equal(t, jsonArea(d.was[headerSize:headersSize]), jsonArea(now[:headerSize]))
	}
}

// storesPlainText: what goes to the mapping is on the disk for all to read.
func storesPlainText(t *testing.T, d hostileDisk) {
	d.passes(t)
	secret := bytes.Repeat([]byte("secret of a cluster "), 4096/20+1)[:4096]
	table := d.opens(t, func(mapped string) {
		command(t, secret, "dd", "of="+mapped, "bs=4096", "iflag=fullblock", "conv=fsync", "status=none")
	})
	assert.Contains(t, table, "cipher_null")
	assert.True(t, bytes.Contains(d.content(t), secret))
}

// nullKeyslot is a whole disk of the host's: it knows the volume key, and any key
// opens it.
func nullKeyslot(t *testing.T, disk []byte) {
	volumeKey := random(volumeKeySize)
	h, area, err := newHeader(volumeKey, keys.RandomDiskKey())
	require.NoError(t, err)
	clear(area)
	copy(area, afSplit(volumeKey))
	copy(disk, image(t, h, area))
	editJSON(t, disk, `"encryption":"aes-xts-plain64","key_size":64`, `"encryption":"cipher_null-ecb","key_size":64`)
}

func anyKeyOpens(t *testing.T, d hostileDisk) {
	d.passes(t)
	d.key = keys.RandomDiskKey()
	d.passes(t)
	table := d.opens(t, func(string) {})
	assert.Contains(t, table, "xts(aes)", "the cipher of the data looks right")
	out, err := d.cryptsetup(t, []byte("\n"), "open", "--test-passphrase", d.path)
	assert.NoError(t, err, "an empty passphrase: %s", out)
}

// newerCopy leaves the first copy as it was and puts a null segment into the
// second, under a later number.
func newerCopy(t *testing.T, disk []byte) {
	second := disk[headerSize:headersSize]
	editCopy(t, second, `"encryption":"aes-xts-plain64","sector_size"`, `"encryption":"cipher_null-ecb","sector_size"`)
	binary.BigEndian.PutUint64(second[16:], 99)
	seal(second)
}

func uuid(text string) func(*testing.T, []byte) {
	return func(_ *testing.T, disk []byte) {
		for _, c := range headerCopies {
			copied := disk[c.offset : c.offset+headerSize]
			clear(copied[168:208])
			copy(copied[168:208], text)
			seal(copied)
		}
	}
}
