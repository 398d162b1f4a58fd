package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestClearOfADiskInUse: what somebody holds, as a mount or a mapping does, is not
// written to. It takes a block device: files cannot be held.
func TestClearOfADiskInUse(t *testing.T) {
	path := diskFile(t, joinedDisk(t).seal())
	loop := attachLoop(t, path)
	report, err := Inspect(t.Context(), loop)
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	holder, err := os.OpenFile(loop, os.O_RDONLY|unix.O_EXCL, 0)
	require.NoError(t, err)
	require.ErrorIs(t, report.Clear(t.Context(), func(Progress) {}), unix.EBUSY)
	require.NoError(t, holder.Close())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "written to")

	require.NoError(t, report.Clear(t.Context(), func(Progress) {}))
	after, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, isZero(after))
}

// TestFormatOfADiskInUse: nor is it marked.
func TestFormatOfADiskInUse(t *testing.T) {
	path := diskFile(t, nil)
	loop := attachLoop(t, path)
	d, err := Open(t.Context(), loop)
	require.NoError(t, err)
	holder, err := os.OpenFile(loop, os.O_RDONLY|unix.O_EXCL, 0)
	require.NoError(t, err)
	defer holder.Close()
	_, err = d.Format(t.Context(), keys.RandomDiskKey(), FirstRegion, func(Progress) {})
	require.ErrorIs(t, err, unix.EBUSY)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, isZero(after), "written to")
}

// clearing is a disk that notes what is asked of it.
type clearing struct {
	bad    span   // takes no zeros
	steps  []span // an empty one for sync
	done   int64
	unsafe error
}

func (c *clearing) zero(s span) error {
	c.steps = append(c.steps, s)
	if s.from < c.bad.to && s.to > c.bad.from {
		return unix.EIO
	}
	c.done = max(c.done, s.to)
	return nil
}

func (c *clearing) Sync() error {
	c.steps = append(c.steps, span{})
	return c.unsafe
}

// TestCleared: all of the disk, in steps, and safe on it before that is said.
func TestCleared(t *testing.T) {
	const size = 2*clearStep + 512
	c := &clearing{}
	var said []Progress
	require.NoError(t, clearAll(t.Context(), size, c, func(p Progress) { said = append(said, p) }))
	assert.Equal(t, []span{{0, clearStep}, {clearStep, 2 * clearStep}, {2 * clearStep, size}, {}}, c.steps)
	assert.Equal(t, []Progress{{clearStep, size}, {2 * clearStep, size}, {size, size}}, said)

	c = &clearing{unsafe: errBroken}
	assert.ErrorIs(t, clearAll(t.Context(), size, c, func(Progress) {}), errBroken)

	ctx, cancel := context.WithCancelCause(t.Context())
	c = &clearing{}
	assert.ErrorIs(t, clearAll(ctx, size, c, func(Progress) { cancel(errBroken) }), errBroken)
	assert.Equal(t, []span{{0, clearStep}}, c.steps)
}

// TestClearOfABadSector: the error names it, and all before it is zeros by then.
func TestClearOfABadSector(t *testing.T) {
	const size = clearStep + 5*sectorSize/2
	for name, tc := range map[string]struct {
		bad span
		at  int64
	}{
		"the first":             {span{0, 512}, 0},
		"one":                   {span{3*sectorSize + 512, 3*sectorSize + 1024}, 3 * sectorSize},
		"across two of 4 KiB":   {span{5*sectorSize - 512, 5*sectorSize + 512}, 4 * sectorSize},
		"the last of a step":    {span{clearStep - 512, clearStep}, clearStep - sectorSize},
		"the first of the next": {span{clearStep, clearStep + 512}, clearStep},
		"the last":              {span{size - 512, size}, clearStep + 2*sectorSize},
		"all from the middle":   {span{clearStep/2 + 1, size}, clearStep / 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clearing{bad: tc.bad}
			err := clearAll(t.Context(), size, c, func(Progress) {})
			require.ErrorIs(t, err, unix.EIO)
			assert.ErrorContains(t, err, fmt.Sprintf("at byte %d of %d,", tc.at, size))
			assert.Equal(t, tc.at, c.done)
			assert.Less(t, len(c.steps), 40)
		})
	}
	c := &failsOnce{}
	assert.NoError(t, clearAll(t.Context(), size, c, func(Progress) {}), "it works when it is asked again")
	assert.Equal(t, int64(size), c.done)
}

// failsOnce takes nothing in large pieces.
type failsOnce struct{ clearing }

func (f *failsOnce) zero(s span) error {
	if s.size() == clearStep {
		return unix.EIO
	}
	return f.clearing.zero(s)
}

// TestClearOfAnUnreadableDisk: nobody knows what is on it, which does not keep it
// from being wiped; whether it is blank then, only a read can say.
func TestClearOfAnUnreadableDisk(t *testing.T) {
	content := joinedDisk(t).seal()
	for name, tc := range map[string]struct {
		content []byte
		lost    int64 // what the file has lost, the device cannot read
		unread  int64
	}{
		"not at all":          {content, 0, 0},
		"but its first 4 KiB": {content, 4096, 4096},
		"but its superblock":  {content, metadataSize, metadataSize},
		"but its end":         {nil, minSize - 4096, minSize - 4096},
	} {
		t.Run(name, func(t *testing.T) {
			path := diskFile(t, tc.content)
			loop := attachLoop(t, path)
			require.NoError(t, os.Truncate(path, tc.lost))
			report, err := Inspect(t.Context(), loop)
			var unread *ReadError
			require.ErrorAs(t, err, &unread)
			assert.Equal(t, tc.unread, unread.At)
			assert.ErrorIs(t, err, unix.EIO)
			assert.Nil(t, report.Device)

			err = report.Clear(t.Context(), func(Progress) {})
			assert.ErrorAs(t, err, &unread)
			assert.ErrorContains(t, err, "zeros were written to all of")
			require.NoError(t, os.Truncate(path, minSize)) // as if the disk had other sectors for those
			report, err = Inspect(t.Context(), loop)
			require.NoError(t, err)
			require.NoError(t, report.Clear(t.Context(), func(Progress) {}))
		})
	}
}

// TestClearOfWhatIsNoStateDisk: the advice of a refused disk, which is to wipe it, is
// not given again.
func TestClearOfWhatIsNoStateDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte{1}, 1<<20), 0o600))
	report, err := Inspect(t.Context(), path)
	require.NoError(t, err)
	err = report.Clear(t.Context(), func(Progress) {})
	require.ErrorContains(t, err, "zeros were written to all of "+path+", and it is not blank: size: found 1048576, want ")
	assert.NotContains(t, err.Error(), Foreign.Advice())
	assert.NotContains(t, err.Error(), "untouched")
}

// TestClearThatDidNotWork: what was not wiped, or did not stay so, is not called blank.
func TestClearThatDidNotWork(t *testing.T) {
	content := joinedDisk(t).seal()
	path := diskFile(t, content)
	report, err := Inspect(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	err = report.Clear(ctx, func(Progress) {})
	require.ErrorIs(t, err, errBroken)
	assert.ErrorContains(t, err, "clearing "+path)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, after))

	err = report.Clear(t.Context(), func(Progress) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, markInterrupted(f))
	})
	assert.ErrorContains(t, err, "it is prepared afterwards: its storage does not keep zeros")
}

// TestZeroesThatAreNot: what the kernel or the file does not take is an error.
func TestZeroesThatAreNot(t *testing.T) {
	noise := bytes.Repeat([]byte("noise, "), minSize/7+1)[:minSize]
	path := diskFile(t, noise)
	assert.ErrorIs(t, writeZeros(brokenAt{at: 3 << 20}, span{0, minSize}), errBroken)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, zeroable{file}.zero(span{512, 3<<20 + 512}), "a file takes no ioctl")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(slices.Concat(noise[:512], make([]byte, 3<<20), noise[3<<20+512:]), after))

	loop, err := os.OpenFile(attachLoop(t, path), os.O_RDONLY, 0)
	require.NoError(t, err)
	defer loop.Close()
	assert.ErrorIs(t, zeroable{loop}.zero(span{0, 512}), unix.EBADF)
}

func (d brokenAt) WriteAt(b []byte, at int64) (int, error) { return d.ReadAt(b, at) }
