//go:build vm

package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// logWrites records what a disk is given, with the kernel's target of that name:
// the disk is used as path, and log takes what reached it, in an order in which
// it could have reached it. Flags of an entry as in the kernel's
// Documentation/admin-guide/device-mapper/log-writes.rst.
type logWrites struct {
	path string
	log  string
}

const (
	logFlush   = 1 << 0
	logFUA     = 1 << 1
	logDiscard = 1 << 2
	logMark    = 1 << 3

	logMagic = 0x6a736677736872
)

// logEntry is a write, a flush (with or without a write), or a mark.
type logEntry struct {
	write
	flags uint64
	mark  string
}

func (e logEntry) durable() bool { return e.flags&(logFlush|logFUA) != 0 }

func startLog(t *testing.T, disk, log string) logWrites {
	t.Helper()
	table := fmt.Sprintf("0 %d log-writes %s %s", sizeOf(t, disk)/512, disk, log)
	command(t, nil, "dmsetup", "create", "logged", "--table", table)
	return logWrites{"/dev/mapper/logged", log}
}

func (l logWrites) mark(t *testing.T, name string) {
	t.Helper()
	command(t, nil, "dmsetup", "message", "logged", "0", "mark", name)
}

// end stops recording and returns what was recorded.
func (l logWrites) end(t *testing.T) []logEntry {
	t.Helper()
	command(t, nil, "dmsetup", "remove", "--retry", "logged")
	command(t, nil, "blockdev", "--flushbufs", l.log) // the kernel wrote beneath the page cache
	f, err := os.Open(l.log)
	require.NoError(t, err)
	defer f.Close()
	var super struct {
		Magic, Version, Entries uint64
		SectorSize              uint32
	}
	read := func(at int64, n int) []byte {
		b := make([]byte, n)
		_, err := f.ReadAt(b, at)
		require.NoError(t, err)
		return b
	}
	_, err = binary.Decode(read(0, 32), binary.LittleEndian, &super)
	require.NoError(t, err)
	require.EqualValues(t, logMagic, super.Magic)
	require.EqualValues(t, 1, super.Version)

	sector := int64(super.SectorSize)
	at := sector
	var all []logEntry
	for range super.Entries {
		var raw struct{ Sector, Sectors, Flags, DataLen uint64 }
		head := read(at, int(sector))
		_, err := binary.Decode(head, binary.LittleEndian, &raw)
		require.NoError(t, err)
		at += sector
		e := logEntry{flags: raw.Flags}
		switch {
		case raw.Flags&logMark != 0:
			e.mark = string(bytes.TrimRight(head[32:32+raw.DataLen], "\x00"))
		default:
			require.Zero(t, raw.Flags&logDiscard, "nothing here discards")
			e.write = write{int64(raw.Sector) * sector, read(at, int(raw.Sectors)*int(sector))}
			at += int64(raw.Sectors) * sector
		}
		all = append(all, e)
	}
	return all
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Seek(0, 2)
	require.NoError(t, err)
	return size
}
