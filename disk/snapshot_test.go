package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// thinDisk is a disk of zeros but for these bytes, each at its place. It notes what
// is read of it.
type thinDisk struct {
	bytes map[int64]byte
	sync.Mutex
	reads []span
}

func (s *thinDisk) ReadAt(b []byte, at int64) (int, error) {
	s.Lock()
	defer s.Unlock()
	s.reads = append(s.reads, span{at, at + int64(len(b))})
	clear(b)
	for where, value := range s.bytes {
		if where >= at && where < at+int64(len(b)) {
			b[where-at] = value
		}
	}
	return len(b), nil
}

// ordered are the reads by their place, of which none may read what another has.
func (s *thinDisk) ordered(t *testing.T) []span {
	t.Helper()
	slices.SortFunc(s.reads, func(a, b span) int { return int(a.from - b.from) })
	for i := range s.reads[1:] {
		require.LessOrEqual(t, s.reads[i].to, s.reads[i+1].from, "read twice")
	}
	return s.reads
}

// TestReads: what is read of a new disk, and that it costs less than a second
// where 3,000 requests are served in one.
func TestReads(t *testing.T) {
	for _, size := range []int64{minSize, 64 << 20, 1 << 30, 1<<30 + 512, 30 << 30, 1 << 40, 16 << 40} {
		t.Run(fmt.Sprint(size>>20, " MiB"), func(t *testing.T) {
			disk := &thinDisk{}
			d, err := snapshot{disk, size}.verdict(&ledger{})
			require.NoError(t, err)
			require.Equal(t, Blank, d.State())
			reads := disk.ordered(t)
			assert.Less(t, len(reads), 1500, "half a second")
			head, tail, between, dense := int64(0), size, 0, 0
			for _, r := range reads {
				if r.from == head {
					head = r.to
				}
				if r.from > metadataSize+4096 && r.to <= size-2<<20 {
					between++
					if r.from < 1<<30 && r.from%(2<<20) == 0 {
						dense++
					}
				}
				assert.LessOrEqual(t, r.size(), int64(256<<10), "a cloud counts more as several")
			}
			for _, r := range slices.Backward(reads) {
				if r.to == tail {
					tail = r.from
				}
			}
			assert.GreaterOrEqual(t, head, int64(16<<20+4<<10), "the start without a gap")
			assert.LessOrEqual(t, tail, size-2<<20, "the end without a gap")
			assert.GreaterOrEqual(t, between, 1024)
			assert.GreaterOrEqual(t, dense, int(min(size, 1<<30)-20<<20)/(2<<20))
			for i := 1; i < len(reads); i++ {
				assert.LessOrEqual(t, reads[i].from-reads[i-1].to, max(2<<20, size/768+4096), "a gap behind sample %d", i)
			}
		})
	}
}

// TestSamplesAreReadAlone: the kernel reads nothing beside them on its own account.
func TestSamplesAreReadAlone(t *testing.T) {
	loop := attachLoop(t, sparse(t, 4<<30))
	before := sectorsRead(t, loop)
	d, err := Open(t.Context(), loop)
	require.NoError(t, err)
	require.Equal(t, Blank, d.State())
	read := (sectorsRead(t, loop) - before) * 512
	assert.Less(t, read, int64(headSize+tailSize+1500*sampleSize+4<<20), "some for the kernel's own look at a new device")
}

// TestReadsOfAHeader: a disk with a header costs a handful, none twice, and its
// unused parts are not read at all.
func TestReadsOfAHeader(t *testing.T) {
	for _, c := range []*crafted{joinedDisk(t), newDisk(t)} {
		disk := &reader{ReaderAt: bytes.NewReader(c.seal())}
		_, err := snapshot{disk, minSize}.verdict(&ledger{})
		require.NoError(t, err)
		assert.LessOrEqual(t, len(disk.ordered(t)), 4)
		total := int64(0)
		for _, r := range disk.reads {
			total += r.size()
		}
		assert.LessOrEqual(t, total, int64(headersSize+areaSize+superblockSize))
	}
}

// reader notes what is read of a disk.
type reader struct {
	io.ReaderAt
	thinDisk
}

func (r *reader) ReadAt(b []byte, at int64) (int, error) {
	_, _ = r.thinDisk.ReadAt(b, at)
	return r.ReaderAt.ReadAt(b, at)
}

// TestOneByteAnywhere: a single byte where the verdict looks is enough.
func TestOneByteAnywhere(t *testing.T) {
	const size = 30 << 30
	places := map[string]int64{
		"the first byte": 0, "behind the first sector": 512, "the last of the first 4 KiB": 4095, "behind them": 4096,
		"behind the headers": headersSize, "in the middle of the metadata": 7<<20 + 77, "at the end of the metadata": 16<<20 - 1,
		"in the superblock": 16 << 20, "at its end": 16<<20 + 4095,
		"2 MiB before the end": size - 2<<20, "1 MiB before the end": size - 1<<20, "the last sector": size - 512, "the last byte": size - 1,
		"second group of ext4": 128<<20 + 56, "ninth": 9*128<<20 + 56, "25th": 25*128<<20 + 57, "49th": 49*128<<20 + 56, "81st": 81*128<<20 + 56, "125th": 125*128<<20 + 56,
		"second group of XFS": size / 4, "third": size / 2, "fourth": size / 4 * 3, "second superblock of Btrfs": 64<<20 + 64,
		"first sample": 18 << 20, "in the first GiB": 738<<20 + 4095,
	}
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			_, err := snapshot{&thinDisk{bytes: map[int64]byte{at: 1}}, size}.verdict(&ledger{})
			var refusal *Refusal
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, fieldZeros, refusal.Field)
			assert.Equal(t, fmt.Sprint("something else at byte ", at), refusal.Found)
			assert.Equal(t, at >= 512, refusal.Meaning == Damaged, "a start of zeros")
		})
	}
}

// youngFileSystem is one that was made on a disk of 40 GiB and has little on it:
// tables in its first 200 MiB, 4 KiB in each 4 MiB.
type youngFileSystem struct{ lost int64 }

func (y youngFileSystem) ReadAt(b []byte, at int64) (int, error) {
	for i := range b {
		b[i] = 0
		if where := at + int64(i); where >= y.lost && where < 200<<20 && where%(4<<20) < 4096 {
			b[i] = 7
		}
	}
	return len(b), nil
}

// TestDiskThatWasSmaller: it was enlarged to 80 GiB, so that nothing is at its end,
// and has lost its first 16 MiB.
func TestDiskThatWasSmaller(t *testing.T) {
	_, err := snapshot{youngFileSystem{headSize}, 80 << 30}.verdict(&ledger{})
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, fieldZeros, refusal.Field)
	assert.Equal(t, Damaged, refusal.Meaning)
}

var errBroken = errors.New("broken")

type brokenAt struct {
	startOf
	at int64
}

func (d brokenAt) ReadAt(b []byte, at int64) (int, error) {
	if at <= d.at && d.at < at+int64(len(b)) {
		return 0, errBroken
	}
	return d.startOf.ReadAt(b, at)
}

// TestDiskThatCannotBeRead: wherever a read fails, the disk is not new.
func TestDiskThatCannotBeRead(t *testing.T) {
	const size = 1 << 30
	for _, at := range []int64{0, headersSize, 5 << 20, metadataSize, size - tailSize, size - 1, 128 << 20, sampleOffsets(size)[1000]} {
		d, err := snapshot{brokenAt{nil, at}, size}.verdict(&ledger{})
		require.ErrorIs(t, err, errBroken, "byte %d", at)
		assert.Nil(t, d)
		_, err = snapshot{brokenAt{nil, at}, size}.report(identity{})
		require.ErrorIs(t, err, errBroken, "no refusal either")
	}
}

// TestReadsAreWaitedForAMinute: no shorter, and no longer.
func TestReadsAreWaitedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		release := make(chan struct{})
		_, err := answered(t.Context(), "/dev/x", func() (int, error) { <-release; return 1, nil })
		assert.ErrorContains(t, err, "/dev/x: storage did not answer within 1m0s")
		assert.Equal(t, time.Minute, time.Since(start))
		close(release)
	})
}

// slow is a disk that serves a request every gap, each after a millisecond.
type slow struct {
	io.ReaderAt
	sync.Mutex
	gap  time.Duration
	next time.Time
}

func (s *slow) ReadAt(b []byte, at int64) (int, error) {
	s.Lock()
	if now := time.Now(); s.next.Before(now) {
		s.next = now
	}
	s.next = s.next.Add(s.gap)
	served := s.next.Add(time.Millisecond)
	s.Unlock()
	time.Sleep(time.Until(served))
	return s.ReaderAt.ReadAt(b, at)
}

// BenchmarkSlowDisk is how long the verdict takes on a disk with 3,000 requests a
// second.
func BenchmarkSlowDisk(b *testing.B) {
	for name, tc := range map[string]struct {
		disk io.ReaderAt
		size int64
	}{"new, 1 TiB": {startOf(nil), 1 << 40}, "joined": {bytes.NewReader(joinedDisk(b).seal()), minSize}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := snapshot{&slow{ReaderAt: tc.disk, gap: time.Second / 3000}, tc.size}.verdict(&ledger{})
				require.NoError(b, err)
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/verdict")
		})
	}
}
