//go:build vm

package disk

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inStorageGuest is set where the tests named TestStorage run: in a VM, as root,
// with six blank disks.
const inStorageGuest = "DISK_TEST_IN_STORAGE_GUEST"

// TestPowerCuts runs this test binary in a VM.
func TestPowerCuts(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	result := runSelf(ctx, t, vmtest.Config{Disks: blankDisks(t, 40<<20, 512<<20, 40<<20, 40<<20, partsOfJoined*joinedSize, 2*growingSize), Console: t.Output()},
		"GODEBUG=cpu.sse41=off "+inStorageGuest+"=1 ./disk.test -test.v -test.run '^TestStorage'")
	assert.Zero(t, result.ExitCode)
	assert.Contains(t, result.Output, "--- PASS: TestStorage")
}

func storageGuestOnly(t *testing.T) {
	t.Helper()
	if os.Getenv(inStorageGuest) == "" {
		t.Skip("runs in a VM, through TestPowerCuts")
	}
}

// life is what happens to a disk until its node has joined, and its next boot.
type life struct {
	first, final keys.DiskKey
	salt         keys.MeasurementSalt
}

// live is recorded: each mark stands after what it names.
func (l life) live(t *testing.T, r logWrites) {
	t.Helper()
	const mapping = "cut"
	blank, err := Open(t.Context(), r.path)
	require.NoError(t, err)
	require.Equal(t, Blank, blank.State())
	prepared, err := blank.Format(t.Context(), l.first, FirstRegion, func(Progress) {})
	require.NoError(t, err)
	r.mark(t, "format")

	require.NoError(t, prepared.Unlock(t.Context(), mapping, l.first))
	mount := t.TempDir()
	require.NoError(t, unix.Mount("/dev/mapper/"+mapping, mount, "ext4", 0, ""))
	require.NoError(t, WriteNodeState(mount, RoleWorker, l.salt))
	r.mark(t, "node-state")
	require.NoError(t, prepared.Enroll(l.first, l.final, l.salt))
	r.mark(t, "enrol")
	require.NoError(t, unix.Unmount(mount, 0))
	require.NoError(t, Close(mapping))
	r.mark(t, "shutdown")

	joined, err := Open(t.Context(), r.path)
	require.NoError(t, err)
	require.NoError(t, joined.Unlock(t.Context(), mapping, l.final))
	_, err = ReadSalt("/dev/mapper/"+mapping, filepath.Join(t.TempDir(), "mount"))
	require.NoError(t, err)
	require.NoError(t, Close(mapping))
	r.mark(t, "unlock")
}

// TestStorageCuts records everything that a disk is given in its life and cuts
// the power after each write (replay.ways). The disk is Blank until something is
// written, Prepared until the last write of the enrolment, and then Joined, with
// the node's state. It is never anything else.
func TestStorageCuts(t *testing.T) {
	storageGuestOnly(t)
	l := life{keys.RandomDiskKey(), keys.RandomDiskKey(), salt(t)}
	recording := startLog(t, "/dev/vda", "/dev/vdb")
	l.live(t, recording)
	entries := recording.end(t)
	joins := lastFirstSector(entries, "enrol")
	r := newReplay(t, "/dev/vdc")
	var cuts, flushes, boots int
	phase := 0
	for i, e := range entries {
		if e.mark != "" {
			t.Logf("%s: %d cuts", e.mark, cuts)
			phase, cuts = phase+1, 0
			continue
		}
		require.False(t, phase == 4 && len(e.bytes) > 0 && e.offset < metadataSize, "an unlock writes to the metadata")
		r.add(e)
		r.ways(e, func(content []byte) {
			cuts++
			state := stateOf(t, content)
			if !slices.Contains(allowed(i, joins), state) {
				t.Fatalf("%v after a cut at write %d of %d, joined at %d", state, i, len(entries), joins)
			}
			if i == joins && state == Joined && boots == 0 { // of what was not flushed, the header alone is there
				r.bootsOn(t, content, l)
				boots++
			}
		})
		if !e.durable() {
			continue
		}
		switch flushes++; {
		case i > joins && boots > 2 && i < len(entries)-3: // the first ones, and the last one
		case i < joins && flushes%8 != 0: // a sample
		case i < joins:
			require.NotEqual(t, Joined, r.put(t, r.flushed).State())
		default:
			r.bootsOn(t, r.flushed, l)
			boots++
		}
	}
	t.Logf("%d flushes, %d boots of a joined disk", flushes, boots)
	require.Greater(t, boots, 2)
}

// allowed are the states after a cut at the entry, when the one at joins is the
// last write of the enrolment.
func allowed(entry, joins int) []State {
	switch {
	case entry == 0:
		return []State{Blank, Prepared}
	case entry < joins:
		return []State{Prepared}
	case entry == joins:
		return []State{Prepared, Joined}
	}
	return []State{Joined}
}

// lastFirstSector is the last write to the first sector before a mark.
func lastFirstSector(entries []logEntry, mark string) (last int) {
	for i, e := range entries {
		if e.mark == mark {
			return last
		}
		if len(e.bytes) > 0 && e.offset == 0 {
			last = i
		}
	}
	return -1
}
