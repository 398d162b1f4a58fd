package disk

import (
	"bytes"
	"context"
	"math/bits"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// write is one write that a disk was given; nil bytes are a flush.
type write struct {
	offset int64
	bytes  []byte
}

// recorder is a disk that notes what it is given.
type recorder struct{ writes []write }

func (r *recorder) WriteAt(b []byte, offset int64) (int, error) {
	r.writes = append(r.writes, write{offset, bytes.Clone(b)})
	return len(b), nil
}

func (r *recorder) Sync() error {
	r.writes = append(r.writes, write{})
	return nil
}

// TestCutDuringWrite takes the power away at every point of an enrolment. What
// was flushed is on the disk; of what was not, the disk has kept nothing, all,
// or single sectors, in any order. Each time the disk is Prepared or Joined, and
// a Joined one opens with its key.
func TestCutDuringWrite(t *testing.T) {
	h, area, current := preparedDisk(t)
	before := image(t, h, area)
	d, err := diskOf(before)
	require.NoError(t, err)
	_, _, final := preparedDisk(t)
	after, err := d.enrolled(current, final, salt(t))
	require.NoError(t, err)
	var r recorder
	require.NoError(t, replaceImage(&r, after))
	require.NotEmpty(t, r.writes[len(r.writes)-1:])
	require.Nil(t, r.writes[len(r.writes)-1].bytes, "the last write is flushed")

	check := func(content []byte, where string, i int) {
		t.Helper()
		d, err := diskOf(content)
		require.NoError(t, err, "%s of write %d", where, i)
		require.Contains(t, []State{Prepared, Joined}, d.State())
		if d.State() == Joined {
			require.NoError(t, d.Prove(final))
		}
	}
	flushed := bytes.Clone(before)
	content := bytes.Clone(before)
	var pending []write
	for i, w := range r.writes {
		if w.bytes == nil {
			apply(flushed, pending)
			pending = nil
			check(flushed, "after the flush", i)
			continue
		}
		pending = append(pending, w)
		for _, kept := range keptSectors(pending) {
			copy(content, flushed)
			apply(content, kept)
			check(content, "in the middle", i)
		}
	}
	joined, err := diskOf(flushed)
	require.NoError(t, err)
	assert.Equal(t, Joined, joined.State())
}

// TestTornFirstSectors: the first 4 KiB are replaced with one write, of which a
// disk may keep any of its eight sectors. All that changes is in the first one.
func TestTornFirstSectors(t *testing.T) {
	var r recorder
	require.NoError(t, markInterrupted(&r))
	mark := r.writes[0].bytes
	h, area, _ := preparedDisk(t)
	prepared := image(t, h, area)
	h.metadata.Tokens = joinedTokens(salt(t))
	joined := image(t, h, area)
	marked := func(image []byte) []byte { return append(bytes.Clone(mark), image[binarySize:]...) }
	for name, tc := range map[string]struct {
		before, write []byte
		superblock    []byte
		want          []State
	}{
		"format begins, zeros":   {make([]byte, metadataSize), mark, nil, []State{Blank, Prepared}},
		"format begins again":    {prepared, mark, superblockOf(minSize), []State{Prepared}},
		"format ends":            {marked(prepared), prepared[:binarySize], superblockOf(minSize), []State{Prepared}},
		"enrolment ends, joined": {marked(joined), joined[:binarySize], superblockOf(minSize), []State{Prepared, Joined}},
	} {
		t.Run(name, func(t *testing.T) {
			head := make(startOf, headSize)
			copy(head, tc.before)
			copy(head[metadataSize:], tc.superblock)
			s := snapshot{head, minSize}
			for kept := range 1 << (binarySize / 512) {
				copy(head, tc.before[:binarySize])
				for i := 0; i < binarySize; i += 512 {
					if kept>>(i/512)&1 == 1 {
						copy(head[i:], tc.write[i:i+512])
					}
				}
				d, err := s.verdict(&ledger{})
				require.NoError(t, err, "kept %08b", kept)
				require.Contains(t, tc.want, d.State(), "kept %08b", kept)
			}
		})
	}
}

// keptSectors are ways in which a disk may keep a part of what it was given.
func keptSectors(pending []write) [][]write {
	var sectors []write
	for _, w := range pending {
		for at := 0; at < len(w.bytes); at += 512 {
			sectors = append(sectors, write{w.offset + int64(at), w.bytes[at : at+512]})
		}
	}
	ways := [][]write{nil, sectors, sectors[:1], sectors[1:], sectors[:len(sectors)/2], sectors[len(sectors)/2:], sectors[len(sectors)-1:]}
	for i := 0; i < min(len(sectors), headersSize/512+8); i += 9 {
		ways = append(ways, sectors[:i], sectors[i:])
	}
	return ways
}

func apply(disk []byte, writes []write) {
	for _, w := range writes {
		copy(disk[w.offset:], w.bytes)
	}
}

// TestFormatBeginsWithTheMark: a format that ends early leaves a disk that is formatted
// again, and not one that is neither new nor marked. The mark is the first thing that
// is written.
func TestFormatBeginsWithTheMark(t *testing.T) {
	noise := bytes.Repeat([]byte("noise, "), minSize/7+1)[:minSize]
	for name, tc := range map[string]struct {
		content []byte
		open    func(context.Context, string) (*Device, error)
	}{"zeros": {nil, Open}, "noise": {noise, OpenNonzero}} {
		t.Run(name, func(t *testing.T) {
			path := diskFile(t, tc.content)
			d, err := tc.open(t.Context(), path)
			require.NoError(t, err)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			// Where there is a device-mapper, the wipe begins. There it ends.
			_, err = d.Format(ctx, keys.RandomDiskKey(), FirstRegion, func(Progress) { cancel(errEnough) })
			require.Error(t, err)
			d, err = Open(t.Context(), path)
			require.NoError(t, err, "marked, whatever else is there")
			assert.Equal(t, Prepared, d.State())
		})
	}
}

// TestTornMarkOnNoise: on a dirty disk, the mark may be torn between sectors; what
// is there then is the mark, or noise as before, to be formatted as before.
func TestTornMarkOnNoise(t *testing.T) {
	var r recorder
	require.NoError(t, markInterrupted(&r))
	noise := bytes.Repeat([]byte("noise, "), minSize/7+1)[:minSize]
	content := bytes.Clone(noise[:headSize])
	for kept := range 1 << (binarySize / 512) {
		if n := bits.OnesCount(uint(kept)); n > 1 && n < binarySize/512-1 {
			continue // one sector, or all but one, stand for these: each verdict reads all of the noise
		}
		copy(content, noise[:binarySize])
		for i := 0; i < binarySize; i += 512 {
			if kept>>(i/512)&1 == 1 {
				copy(content[i:], r.writes[0].bytes[i:i+512])
			}
		}
		d, err := snapshot{startOf(content), minSize}.verdict(&ledger{})
		if err == nil {
			require.Equal(t, Prepared, d.State())
			continue
		}
		var refusal *Refusal
		require.ErrorAs(t, err, &refusal)
		require.True(t, refusal.Unrecognised(), "kept %08b: %v", kept, err)
	}
}
