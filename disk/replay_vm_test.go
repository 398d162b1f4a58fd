//go:build vm

package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// replay is a disk that is given again what another one was given, and loses
// its power on the way.
type replay struct {
	path    string
	flushed []byte  // is there whatever happens
	all     []byte  // is there if the disk has kept everything
	pending []write // the difference
	held    []byte  // is on the real disk; nil if that is not known
}

func newReplay(t *testing.T, path string) *replay {
	size := sizeOf(t, path)
	return &replay{path: path, flushed: make([]byte, size), all: make([]byte, size)}
}

// add gives the disk the next entry.
func (r *replay) add(e logEntry) {
	if e.flags&logFlush != 0 {
		apply(r.flushed, r.pending)
		r.pending = nil
	}
	if len(e.bytes) == 0 {
		return
	}
	apply(r.all, []write{e.write})
	if e.flags&logFUA != 0 {
		apply(r.flushed, []write{e.write})
		return
	}
	r.pending = append(r.pending, e.write)
}

// ways are the contents that a cut now can leave, as far as they are tried: after
// a flush, what is there; else with all that is not flushed, and with the last
// write alone. A write of the first 4 KiB may be torn.
func (r *replay) ways(e logEntry, try func(content []byte)) {
	if len(e.bytes) == 0 {
		try(r.flushed)
		return
	}
	try(r.all)
	before := bytes.Clone(r.flushed[e.offset:][:len(e.bytes)])
	defer copy(r.flushed[e.offset:], before)
	if e.offset > 0 {
		apply(r.flushed, []write{e.write})
		try(r.flushed)
		return
	}
	for _, kept := range tornWays(e.write) {
		apply(r.flushed, kept)
		try(r.flushed)
		copy(r.flushed[e.offset:], before)
	}
}

// tornWays are what is kept of a write that was torn between its sectors.
func tornWays(w write) (ways [][]write) {
	var sectors []write
	for at := 0; at < len(w.bytes); at += 512 {
		sectors = append(sectors, write{w.offset + int64(at), w.bytes[at : at+512]})
	}
	for i := range sectors {
		ways = append(ways, sectors[:i+1], sectors[i:])
	}
	return ways
}

// stateOf is the verdict on a disk with this content.
func stateOf(t *testing.T, content []byte) State {
	t.Helper()
	d, err := snapshot{bytes.NewReader(content), int64(len(content))}.verdict(&ledger{})
	require.NoError(t, err)
	return d.State()
}

// put makes content that of the real disk, where it differs.
func (r *replay) put(t *testing.T, content []byte) *Device {
	t.Helper()
	f, err := os.OpenFile(r.path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	const chunk = 64 << 10
	for at := 0; at < len(content); at += chunk {
		if b := content[at:][:chunk]; r.held == nil || !bytes.Equal(b, r.held[at:][:chunk]) {
			_, err := f.WriteAt(b, int64(at))
			require.NoError(t, err)
		}
	}
	require.NoError(t, f.Sync())
	r.held = bytes.Clone(content)
	d, err := Open(t.Context(), r.path)
	require.NoError(t, err)
	return d
}

// bootsOn goes on with a Joined disk as the next boot does: the key opens it,
// and its file system holds the node's state.
func (r *replay) bootsOn(t *testing.T, content []byte, l life) {
	t.Helper()
	const mapping = "replayed"
	d := r.put(t, content)
	require.Equal(t, Joined, d.State())
	require.ErrorIs(t, d.Prove(l.first), keys.ErrWrongKey)
	require.NoError(t, d.Prove(l.final))
	token, ok := d.Salt()
	require.True(t, ok)
	require.Equal(t, l.salt.Bytes(), token.Bytes())

	require.NoError(t, d.Unlock(t.Context(), mapping, l.final))
	read, err := ReadSalt("/dev/mapper/"+mapping, filepath.Join(t.TempDir(), "mount"))
	require.NoError(t, err)
	require.Equal(t, l.salt.Bytes(), read.Bytes())
	dir := t.TempDir()
	require.NoError(t, unix.Mount("/dev/mapper/"+mapping, dir, "ext4", 0, "")) // as the node: the journal is replayed
	read, err = readNodeState(dir)
	require.NoError(t, err)
	require.Equal(t, l.salt.Bytes(), read.Bytes())
	require.NoError(t, unix.Unmount(dir, 0))
	require.NoError(t, Close(mapping))
	command(t, nil, "blockdev", "--flushbufs", r.path)
	r.held = nil
}
