package disk

import (
	"bytes"
	"context"
	"os"
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
	steps  []span // an empty one for sync
	unsafe error
}

func (c *clearing) zero(s span) error {
	c.steps = append(c.steps, s)
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
