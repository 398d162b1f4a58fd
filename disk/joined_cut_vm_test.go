//go:build vm

package disk

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// joinedElsewhere is a disk that a bootstrapper of v2.x has joined, on a part of
// a disk whose power can be cut.
type joinedElsewhere struct {
	name, path, table, dir string
	sectors                int
	final                  keys.DiskKey
	salt                   keys.MeasurementSalt
}

const (
	joinedSize    = 48 << 20
	partsOfJoined = 12
	growingSize   = 512 << 20 // of two
)

// part is a piece of a disk: that of this number.
type part struct {
	disk            string
	number, sectors int
}

// joinElsewhere does what such a bootstrapper does, in its order: key, token from
// v2.10 on, and node_state.json, which it does not sync.
func joinElsewhere(t *testing.T, p part, token bool) joinedElsewhere {
	t.Helper()
	name := fmt.Sprint(filepath.Base(p.disk), "-", p.number)
	j := joinedElsewhere{
		name: name, path: "/dev/mapper/" + name, dir: t.TempDir(), final: keys.RandomDiskKey(), salt: salt(t),
		sectors: p.sectors, table: fmt.Sprintf("0 %d linear %s %d", p.sectors, p.disk, p.number*p.sectors),
	}
	command(t, nil, "dmsetup", "create", name, "--table", j.table)
	blank, err := Open(t.Context(), j.path)
	require.NoError(t, err)
	first := keys.RandomDiskKey()
	prepared, err := blank.Format(t.Context(), first, FirstRegion, func(Progress) {})
	require.NoError(t, err)
	j.mount(t, prepared, first)

	require.NoError(t, os.WriteFile("/run/final", j.final.Bytes(), 0o600))
	command(t, first.Bytes(), "cryptsetup", "luksChangeKey", "--batch-mode", "--key-file=-", "--key-slot=0", clusterMemory, "--pbkdf-force-iterations=4", j.path, "/run/final")
	if token {
		command(t, nil, "cryptsetup", "token", "remove", "--token-id=0", j.path)
		command(t, []byte(stateTokenTrue), "cryptsetup", "token", "import", "--token-id=0", j.path)
	}
	require.NoError(t, os.Mkdir(filepath.Join(j.dir, "constellation"), 0o755))
	raw := fmt.Appendf(nil, "{\n\t\"Role\": \"Worker\",\n\t\"MeasurementSalt\": %q\n}", base64.StdEncoding.EncodeToString(j.salt.Bytes()))
	require.NoError(t, os.WriteFile(filepath.Join(j.dir, nodeStatePath), raw, 0o600))
	return j
}

func (j joinedElsewhere) mapping() string { return j.name + "-state" }

func (j joinedElsewhere) mount(t *testing.T, d *Device, key keys.DiskKey) {
	t.Helper()
	require.NoError(t, d.Unlock(t.Context(), j.mapping(), key))
	require.NoError(t, unix.Mount("/dev/mapper/"+j.mapping(), j.dir, "ext4", 0, ""))
}

// cut ends all writes, then those who write, and then all that is in memory.
func (j joinedElsewhere) cut(t *testing.T, writers *sync.WaitGroup) {
	t.Helper()
	swap := func(table string) {
		command(t, nil, "dmsetup", "load", j.name, "--table", table)
		command(t, nil, "dmsetup", "suspend", "--noflush", "--nolockfs", j.name)
		command(t, nil, "dmsetup", "resume", j.name)
	}
	swap(fmt.Sprintf("0 %d error", j.sectors))
	writers.Wait()
	require.NoError(t, unix.Unmount(j.dir, 0))
	require.NoError(t, Close(j.mapping()))
	swap(j.table)
	command(t, nil, "blockdev", "--flushbufs", j.path)
}

// comesBack is the next boot.
func (j joinedElsewhere) comesBack(t *testing.T) error {
	t.Helper()
	d, err := Open(t.Context(), j.path)
	require.NoError(t, err)
	require.Equal(t, Joined, d.State())
	require.NoError(t, d.Prove(j.final))
	read, err := d.ReadSalt(t.Context(), j.final, filepath.Join(t.TempDir(), "mount"))
	require.NoFileExists(t, "/dev/mapper/"+privateMapping)
	if err != nil {
		return err
	}
	assert.Equal(t, j.salt.Bytes(), read.Bytes())
	require.NoError(t, d.Unlock(t.Context(), j.mapping(), j.final))
	read, err = ReadSalt("/dev/mapper/"+j.mapping(), filepath.Join(t.TempDir(), "mount"))
	require.NoError(t, Close(j.mapping()))
	assert.Equal(t, j.salt.Bytes(), read.Bytes())
	return err
}

// busy writes files over and over, until it cannot.
func (j joinedElsewhere) busy(writers *sync.WaitGroup) {
	writers.Go(func() {
		block := make([]byte, 64<<10)
		for i := 0; ; i++ {
			if os.WriteFile(filepath.Join(j.dir, fmt.Sprint("busy", i%64)), block, 0o600) != nil {
				return
			}
			time.Sleep(10 * time.Millisecond) // is its rate, 6 MiB/s
		}
	})
}

// TestStorageJoinedElsewhere cuts the power at times after another bootstrapper
// has joined. Where the file has reached the disk, be it in the journal only, the
// node comes back. Where it has not, the salt is lost, and the error says so.
func TestStorageJoinedElsewhere(t *testing.T) {
	storageGuestOnly(t)
	const (
		lost = "not the cluster's salt"
		slow = 45 * time.Second // long enough to prepare the other rows meanwhile
	)
	rows := []struct {
		name   string
		token  bool
		synced bool // the file, by anybody: it is in the journal and nowhere else
		busy   bool // somebody writes meanwhile
		after  time.Duration
		mayBe  string // lost, with this error
	}{
		{"no token, 45 s", false, false, false, slow, ""},
		{"token, 45 s", true, false, false, slow, ""},
		{"token, busy, 45 s", true, false, true, slow, lost},
		{"no token, synced, at once", false, true, false, 0, ""},
		{"token, synced, at once", true, true, false, 0, ""},
		{"no token, at once", false, false, false, 0, lost},
		{"token, 1 s", true, false, false, time.Second, lost},
		{"no token, busy, synced, at once", false, true, true, 0, ""},
		{"token, busy, 1 s", true, false, true, time.Second, lost},
		{"no token, 10 s", false, false, false, 10 * time.Second, lost},
		{"token, 10 s", true, false, false, 10 * time.Second, lost},
		{"no token, busy, 10 s", false, false, true, 10 * time.Second, lost},
	}
	require.LessOrEqual(t, len(rows), partsOfJoined)
	disks, joined, writers := make([]joinedElsewhere, len(rows)), make([]time.Time, len(rows)), make([]sync.WaitGroup, len(rows))
	for i, row := range rows {
		disks[i], joined[i] = joinElsewhere(t, part{"/dev/vde", i, joinedSize / 512}, row.token), time.Now()
		if row.busy {
			disks[i].busy(&writers[i])
		}
		if row.synced {
			command(t, nil, "sync", filepath.Join(disks[i].dir, nodeStatePath))
		}
		if row.after < slow {
			time.Sleep(row.after) // is what this test is about
			disks[i].cut(t, &writers[i])
		}
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.after == slow {
				time.Sleep(time.Until(joined[i].Add(slow)))
				disks[i].cut(t, &writers[i])
			}
			err := disks[i].comesBack(t)
			t.Log(err)
			if err != nil && row.mayBe != "" {
				assert.ErrorContains(t, err, row.mayBe)
				return
			}
			assert.NoError(t, err)
		})
	}
}

// TestStorageJoinedAndGrowing cuts the power when so many bytes of an online resize
// have reached the disk. The first time, the file is in the journal and nowhere else.
func TestStorageJoinedAndGrowing(t *testing.T) {
	storageGuestOnly(t)
	const step = 2 * worthGrowing
	for i, token := range []bool{false, true} {
		t.Run(fmt.Sprintf("token %v", token), func(t *testing.T) {
			region := firstRegionTime
			firstRegionTime = 0 // the least
			defer func() { firstRegionTime = region }()
			j := joinElsewhere(t, part{"/dev/vdf", i, growingSize / 512}, token)
			command(t, nil, "sync", filepath.Join(j.dir, nodeStatePath))
			for _, bytes := range []int64{1, 32 << 10, mib} {
				var writers sync.WaitGroup
				size := j.grow(t, step, bytes, &writers)
				j.cut(t, &writers)
				require.NoError(t, j.comesBack(t), "after %d bytes", bytes)
				d, err := Open(t.Context(), j.path)
				require.NoError(t, err)
				j.mount(t, d, j.final)
				_, now, err := measure("/dev/mapper/" + j.mapping())
				require.NoError(t, err)
				t.Logf("cut after %d bytes: %d MiB, and %d MiB after the boot", bytes, size/mib, now/mib)
				require.Contains(t, []int64{size, size + step}, now)
				require.NoError(t, unix.Unmount(j.dir, 0))
				command(t, nil, "e2fsck", "-f", "-n", "/dev/mapper/"+j.mapping())
				require.NoError(t, unix.Mount("/dev/mapper/"+j.mapping(), j.dir, "ext4", 0, ""))
			}
			require.NoError(t, unix.Unmount(j.dir, 0))
			require.NoError(t, Close(j.mapping()))
		})
	}
}

// grow has the file system grow by step, and returns the size before when so many
// bytes of that are written, or all.
func (j joinedElsewhere) grow(t *testing.T, step, bytes int64, writers *sync.WaitGroup) int64 {
	t.Helper()
	mapping := "/dev/mapper/" + j.mapping()
	_, size, err := measure(mapping)
	require.NoError(t, err)
	w, err := openWiper(mapping)
	require.NoError(t, err)
	require.NoError(t, w.wipe(t.Context(), span{size, size + step}, func(int64) {}))
	require.NoError(t, errors.Join(w.sync(), w.Close()))
	device := deviceOf(t, j.path)
	until, ended := writtenTo(t, device)+bytes, make(chan struct{})
	writers.Go(func() {
		defer close(ended)
		_ = cmp.Or(resize(mapping, j.dir, size+step), syncFS(j.dir)) // which the cut may hit
	})
	for all := false; !all && writtenTo(t, device) < until; {
		select {
		case <-ended:
			all = true
		default:
		}
	}
	return size
}
