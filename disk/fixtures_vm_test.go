//go:build vm

package disk

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/require"
)

// The makers run in a VM through TestMakeFixtures and print what they made, one
// line a fixture: the word fixture, the file below testdata, its bytes.
const (
	makeInto    = "FIXTURES"       // the folder testdata
	makeTools   = "FIXTURES_TOOLS" // a folder with one folder for each further cryptsetup
	fixtureLine = "fixture"
	toolsGuest  = "/vmtest/tools"
	imagesTool  = "2.7.5" // what trixie, and so the image, has
)

// makerDisks are the disks of the VM that makes fixtures; sparse.
var makerDisks = []struct {
	name, path string
	size       int64
}{
	{"32M", "/dev/vda", 32 << 20},
	{"64M", "/dev/vdb", 64 << 20},
	{"256M", "/dev/vdc", 256 << 20},
	{"4G", "/dev/vdd", 4 << 30},
	{"64G", "/dev/vde", 64 << 30},
	{"9T", "/dev/vdf", 9 << 40},
	{"odd", "/dev/vdg", 100<<20 + 13*512},
}

// TestMakeFixtures makes the real headers and superblocks that the unit tests
// read. It is a tool, not a test: make headers runs it.
func TestMakeFixtures(t *testing.T) {
	into := os.Getenv(makeInto)
	if into == "" {
		t.Skip("run by make headers")
	}
	var sizes []int64
	for _, d := range makerDisks {
		sizes = append(sizes, d.size)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	result := runSelf(ctx, t, vmtest.Config{Disks: blankDisks(t, sizes...), Overlay: tools(t), Cmdline: []string{"loglevel=0"}},
		inGuest+"=1 ./disk.test -test.v -test.run '^TestMaker'")
	for line := range strings.Lines(result.Output) {
		if !saveFixture(t, into, line) {
			t.Log(strings.TrimSpace(line))
		}
	}
	require.Zero(t, result.ExitCode)
}

// tools lays the further cryptsetups over the image, each with its own libraries.
func tools(t *testing.T) []vmtest.File {
	t.Helper()
	from := os.Getenv(makeTools)
	if from == "" {
		return nil
	}
	var files []vmtest.File
	require.NoError(t, filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, vmtest.File{Path: toolsGuest + strings.TrimPrefix(path, filepath.Clean(from)), Host: path, Mode: 0o755})
		}
		return err
	}))
	return files
}

func saveFixture(t *testing.T, into, line string) bool {
	t.Helper()
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != fixtureLine {
		return false
	}
	content, err := base64.StdEncoding.DecodeString(words[2])
	require.NoError(t, err)
	path := filepath.Join(into, words[1])
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, content, 0o644))
	return true
}

func printFixture(path string, content []byte) {
	_, _ = fmt.Println(fixtureLine, path, base64.StdEncoding.EncodeToString(content))
}

// printHeader prints both copies of the header and the superblock.
func printHeader(t *testing.T, name, disk string) {
	t.Helper()
	s := readDisk(t, disk)
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	require.NoError(t, err)
	_, err = z.Write(append(bytes.Clone(s[:headersSize]), s[metadataSize:]...))
	require.NoError(t, errors.Join(err, z.Close()))
	printFixture("headers/"+name+".hdr.gz", packed.Bytes())
}

func printSuperblock(t *testing.T, name, disk string) {
	t.Helper()
	s := readDisk(t, disk)
	require.True(t, isZero(s[metadataSize+512:]), "more than 512 bytes of superblock")
	printFixture("superblocks/"+name+".bin", s[metadataSize:metadataSize+512])
}

// readDisk is the start of the disk, up to its superblock.
func readDisk(t *testing.T, path string) []byte {
	t.Helper()
	forget(t, path)
	return startOn(t, path)
}

// wipeHead makes a disk blank as far as any tool looks.
func wipeHead(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, metadataSize+superblockSize))
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
}

// tool is one version of cryptsetup.
type tool struct {
	version string
	command []string
}

func makers(t *testing.T) []tool {
	t.Helper()
	all := []tool{{imagesTool, []string{"cryptsetup"}}}
	entries, err := os.ReadDir(toolsGuest)
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	for _, e := range entries {
		dir := filepath.Join(toolsGuest, e.Name())
		all = append(all, tool{e.Name(), []string{dir + "/ld.so", "--library-path", dir, dir + "/cryptsetup"}})
	}
	for _, c := range all {
		require.Contains(t, c.run(t, nil, "--version"), "cryptsetup "+c.version)
	}
	return all
}

func (c tool) run(t *testing.T, stdin []byte, args ...string) string {
	t.Helper()
	return command(t, stdin, c.command[0], append(c.command[1:len(c.command):len(c.command)], args...)...)
}

// format makes a disk with the parameters of clusters.
func (c tool) format(t *testing.T, disk string, key keys.DiskKey, more ...string) {
	t.Helper()
	wipeHead(t, disk)
	c.run(t, key.Bytes(), append([]string{
		"luksFormat", "--batch-mode", "--type=luks2", "--cipher=aes-xts-plain64", "--key-size=512", "--integrity=hmac-sha256",
		"--integrity-no-wipe", "--sector-size=4096", "--pbkdf=argon2id", "--pbkdf-parallel=4", "--key-file=-", disk,
	}, more...)...)
}

const (
	clusterMemory   = "--pbkdf-memory=65536"
	stateTokenTrue  = `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":true}`
	stateTokenFalse = `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":false}`
)

// TestMakerHeaders lets each cryptsetup make the headers of all generations.
func TestMakerHeaders(t *testing.T) {
	guestOnly(t)
	const disk = "/dev/vdb"
	for _, c := range makers(t) {
		save := func(name string) { printHeader(t, "cryptsetup-"+c.version+"-"+name, disk) }
		first, final := keys.RandomDiskKey(), keys.RandomDiskKey()
		for name, options := range map[string][]string{
			"benchmarked":    {clusterMemory, "--iter-time=2000"},
			"little-memory":  {"--pbkdf-memory=10240", "--iter-time=1000"},
			"default-memory": {"--iter-time=2000"},
			"passes-4":       {clusterMemory, "--pbkdf-force-iterations=4"},
			"passes-9":       {clusterMemory, "--pbkdf-force-iterations=9"},
			"passes-25":      {clusterMemory, "--pbkdf-force-iterations=25"},
			"legacy-padding": {clusterMemory, "--pbkdf-force-iterations=4", "--integrity-legacy-padding"},
			"one-thread":     {clusterMemory, "--pbkdf-force-iterations=4", "--pbkdf-parallel=1"},
		} {
			c.format(t, disk, first, options...)
			save(name)
		}
		offline(t, func() {
			c.format(t, disk, first, clusterMemory, "--iter-time=2000")
			save("one-cpu")
		})
		c.format(t, disk, first, clusterMemory, "--pbkdf-force-iterations=4")
		c.run(t, []byte(stateTokenFalse), "token", "import", "--token-id=0", disk)
		save("token-false")
		c.run(t, nil, "token", "remove", "--token-id=0", disk)
		c.run(t, []byte(stateTokenTrue), "token", "import", "--token-id=0", disk)
		save("token-true")
		require.NoError(t, os.WriteFile("/run/final", final.Bytes(), 0o600))
		c.run(t, first.Bytes(), "luksChangeKey", "--batch-mode", "--key-file=-", "--key-slot=0", clusterMemory, "--pbkdf-force-iterations=5", disk, "/run/final")
		save("changed-key")
		require.NoError(t, os.WriteFile("/run/final", first.Bytes(), 0o600))
		c.run(t, final.Bytes(), "luksChangeKey", "--batch-mode", "--key-file=-", "--key-slot=0", clusterMemory, "--pbkdf-force-iterations=5", disk, "/run/final")
		save("changed-key-twice")
	}
}

// offline runs fn on a machine with one CPU.
func offline(t *testing.T, fn func()) {
	t.Helper()
	const cpu = "/sys/devices/system/cpu/cpu1/online"
	require.NoError(t, os.WriteFile(cpu, []byte("0"), 0))
	defer func() { require.NoError(t, os.WriteFile(cpu, []byte("1"), 0)) }()
	fn()
}

// TestMakerTwoPasses: no cryptsetup makes a header with fewer passes than 4.
func TestMakerTwoPasses(t *testing.T) {
	guestOnly(t)
	for _, c := range makers(t) {
		cmd := exec.CommandContext(t.Context(), c.command[0], append(c.command[1:], "luksFormat", "--batch-mode", "--type=luks2", "--pbkdf=argon2id",
			"--pbkdf-memory=65536", "--pbkdf-force-iterations=2", "--key-file=-", "/dev/vdb")...)
		cmd.Stdin = bytes.NewReader(keys.RandomDiskKey().Bytes())
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%s", c.version)
		t.Logf("%s: %s", c.version, out)
	}
}

// TestMakerSuperblocks lets the kernel make a superblock on each size of disk,
// for each cryptsetup and for Format.
func TestMakerSuperblocks(t *testing.T) {
	guestOnly(t)
	key := keys.RandomDiskKey()
	for _, c := range makers(t) {
		name := "cryptsetup-" + c.version
		for _, d := range makerDisks {
			c.format(t, d.path, key, clusterMemory, "--pbkdf-force-iterations=4")
			printSuperblock(t, name+"-"+d.name, d.path)
			if d.name == "64M" || d.name == "256M" {
				useMapping(t, c, d.path, key)
				printSuperblock(t, name+"-used-"+d.name, d.path)
				c.format(t, d.path, key, clusterMemory, "--pbkdf-force-iterations=4", "--integrity-legacy-padding")
				printSuperblock(t, name+"-legacy-"+d.name, d.path)
			}
		}
	}
	for _, d := range makerDisks {
		if d.size <= 256<<20 {
			formatOurs(t, d.path, key)
			printSuperblock(t, "format-"+d.name, d.path)
		}
	}
	printHeader(t, "disk-mapper-prepared", "/dev/vdb")
	enrollOurs(t, "/dev/vdb", key)
	printHeader(t, "disk-mapper-joined", "/dev/vdb")
	printSuperblock(t, "format-used-64M", "/dev/vdb")
}

func useMapping(t *testing.T, c tool, disk string, key keys.DiskKey) {
	t.Helper()
	c.run(t, key.Bytes(), "open", "--key-file=-", disk, "used")
	command(t, nil, "dd", "if=/dev/zero", "of=/dev/mapper/used", "bs=1M", "count=4", "oflag=direct", "status=none")
	c.run(t, nil, "close", "used")
}

func formatOurs(t *testing.T, path string, key keys.DiskKey) {
	t.Helper()
	wipeHead(t, path)
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	_, err = d.Format(t.Context(), key, FirstRegion, func(Progress) {})
	require.NoError(t, err)
}

// enrollOurs takes a Prepared disk into use, makes it Joined and closes it.
func enrollOurs(t *testing.T, path string, key keys.DiskKey) {
	t.Helper()
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, d.Unlock(t.Context(), "used", key))
	require.NoError(t, d.Enroll(key, keys.RandomDiskKey(), salt(t)))
	require.NoError(t, Close("used"))
}
