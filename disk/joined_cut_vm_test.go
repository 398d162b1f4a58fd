//go:build vm

package disk

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
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
	final                  keys.DiskKey
	salt                   keys.MeasurementSalt
}

const joinedSectors = 48 << 20 / 512

// joinElsewhere does what such a bootstrapper does, in its order: key, token from
// v2.10 on, and node_state.json, which it does not sync.
func joinElsewhere(t *testing.T, part int, token bool) joinedElsewhere {
	t.Helper()
	name := fmt.Sprint("part", part)
	j := joinedElsewhere{
		name: name, path: "/dev/mapper/" + name, dir: t.TempDir(), final: keys.RandomDiskKey(), salt: salt(t),
		table: fmt.Sprintf("0 %d linear /dev/vde %d", joinedSectors, part*joinedSectors),
	}
	command(t, nil, "dmsetup", "create", name, "--table", j.table)
	blank, err := Open(t.Context(), j.path)
	require.NoError(t, err)
	first := keys.RandomDiskKey()
	prepared, err := blank.Format(t.Context(), first, FirstRegion, func(Progress) {})
	require.NoError(t, err)
	require.NoError(t, prepared.Unlock(t.Context(), j.mapping(), first))
	require.NoError(t, unix.Mount("/dev/mapper/"+j.mapping(), j.dir, "ext4", 0, ""))

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

// cut ends all writes, and then all that is in memory.
func (j joinedElsewhere) cut(t *testing.T) {
	t.Helper()
	swap := func(table string) {
		command(t, nil, "dmsetup", "load", j.name, "--table", table)
		command(t, nil, "dmsetup", "suspend", "--noflush", "--nolockfs", j.name)
		command(t, nil, "dmsetup", "resume", j.name)
	}
	swap(fmt.Sprintf("0 %d error", joinedSectors))
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

// TestStorageJoinedElsewhere cuts the power at times after another bootstrapper
// has joined. Where the file has reached the disk, be it in the journal only, the
// node comes back. Where it has not, the salt is lost, and the error says so.
func TestStorageJoinedElsewhere(t *testing.T) {
	storageGuestOnly(t)
	rows := []struct {
		name   string
		token  bool
		synced bool // the file, by anybody: it is in the journal and nowhere else
		after  time.Duration
		mayBe  string // lost, with this error
	}{
		{"no token, synced, at once", false, true, 0, ""},
		{"token, synced, at once", true, true, 0, ""},
		{"no token, at once", false, false, 0, "not the cluster's salt"},
		{"token, 1 s", true, false, time.Second, "not the cluster's salt"},
		{"no token, 10 s", false, false, 10 * time.Second, "not the cluster's salt"},
		{"token, 10 s", true, false, 10 * time.Second, "not the cluster's salt"},
		{"no token, 45 s", false, false, 45 * time.Second, ""},
		{"token, 45 s", true, false, 45 * time.Second, ""},
	}
	disks, joined := make([]joinedElsewhere, len(rows)), make([]time.Time, len(rows))
	for i, row := range rows {
		disks[i], joined[i] = joinElsewhere(t, i, row.token), time.Now()
		if row.synced {
			command(t, nil, "sync", filepath.Join(disks[i].dir, nodeStatePath))
		}
		if row.after <= time.Second {
			time.Sleep(row.after)
			disks[i].cut(t)
		}
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.after > time.Second {
				time.Sleep(time.Until(joined[i].Add(row.after))) // is what this test is about
				disks[i].cut(t)
			}
			err := disks[i].comesBack(t)
			t.Logf("cut after %v: %v", time.Since(joined[i]), err)
			if err != nil && row.mayBe != "" {
				assert.ErrorContains(t, err, row.mayBe)
				return
			}
			assert.NoError(t, err)
		})
	}
}
