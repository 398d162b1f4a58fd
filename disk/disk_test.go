package disk

import (
	"bytes"
	"context"
	"errors"
	"golang.org/x/sys/unix"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// preparedDisk is the metadata of a disk as Format leaves it, and its key.
func preparedDisk(t testing.TB) (header, []byte, keys.DiskKey) {
	t.Helper()
	key := keys.RandomDiskKey()
	h, area, err := newHeader(random(volumeKeySize), key)
	require.NoError(t, err)
	return h, area, key
}

// diskFile writes an image of a small disk and returns its path.
func diskFile(t testing.TB, metadata []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if len(metadata) == metadataSize {
		metadata = slices.Concat(metadata, superblockOf(minSize))
	}
	require.NoError(t, os.WriteFile(path, metadata, 0o600))
	require.NoError(t, os.Truncate(path, minSize))
	return path
}

func image(t testing.TB, h header, area []byte) []byte {
	t.Helper()
	raw, err := h.image(area)
	require.NoError(t, err)
	return raw
}

// TestTheMarkIsAWholeSector: what begins like our mark and goes on is somebody's data.
func TestTheMarkIsAWholeSector(t *testing.T) {
	content := make([]byte, minSize)
	copy(content, interrupted)
	d, err := Open(t.Context(), diskFile(t, content))
	require.NoError(t, err)
	require.Equal(t, Prepared, d.State())
	for _, at := range []int{len(interrupted), binarySize - 1} {
		content[at] = 1
		_, err := Open(t.Context(), diskFile(t, content))
		var refusal *Refusal
		require.ErrorAs(t, err, &refusal)
		content[at] = 0
	}
}

func TestOpenKnowsItsOwnDisks(t *testing.T) {
	const published, ours = "Constellation v2.10 to v2.24", "disk-mapper"
	for name, tc := range map[string]struct {
		change func(*header)
		want   State
		origin string
	}{
		"prepared":                            {func(*header) {}, Prepared, ours + ", format"},
		"prepared by a daemon of v2.10":       {func(h *header) { delete(h.metadata.Tokens, "2") }, Prepared, published},
		"joined, no token as before v2.10":    {func(h *header) { clear(h.metadata.Tokens) }, Joined, "Constellation v2.0 to v2.9"},
		"joined, state token of v2.10":        {func(h *header) { delete(h.metadata.Tokens, "2"); h.metadata.Tokens["0"] = joinedTokens(salt(t))["0"] }, Joined, published},
		"joined, enrolled by us":              {func(h *header) { h.metadata.Tokens = joinedTokens(salt(t)) }, Joined, ours + ", format and enrolment"},
		"joined, only the key changed (v2.2)": {func(h *header) { h.metadata.Tokens = formattedTokens(keyslot{KDF: kdf{Salt: random(32)}}) }, Joined, ours + ", then a bootstrapper of v2.x"},
		"joined, state token removed":         {func(h *header) { delete(h.metadata.Tokens, "0") }, Joined, ours + ", format"},
	} {
		t.Run(name, func(t *testing.T) {
			h, area, key := preparedDisk(t)
			tc.change(&h)
			d, err := Open(t.Context(), diskFile(t, image(t, h, area)))
			require.NoError(t, err)
			assert.Equal(t, tc.want, d.State())
			assert.Equal(t, tc.origin, d.Origin())
			assert.Equal(t, h.id, d.ID())
			assert.NoError(t, d.Prove(key))
			assert.ErrorIs(t, d.Prove(keys.RandomDiskKey()), keys.ErrWrongKey)
		})
	}
}

func salt(t testing.TB) keys.MeasurementSalt {
	t.Helper()
	s, err := keys.NewMeasurementSalt(random(keys.Size))
	require.NoError(t, err)
	return s
}

func TestOpenBlank(t *testing.T) {
	d, err := Open(t.Context(), diskFile(t, nil))
	require.NoError(t, err)
	assert.Equal(t, Blank, d.State())
	assert.Error(t, d.Prove(keys.RandomDiskKey()), "a blank disk has no keyslot")
}

// TestTokensAreThePublishedOnes pins the JSON that clusters read and write.
func TestTokensAreThePublishedOnes(t *testing.T) {
	formatted := formattedTokens(keyslot{KDF: kdf{Salt: goldenSalt(t).Bytes()}})
	assert.Len(t, formatted, 2)
	assert.Equal(t, `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":false}`, string(formatted["0"]))
	assert.Equal(t, `{"type":"disk-mapper-format","keyslots":[],"kdf_salt":"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="}`, string(formatted["2"]))
	joined := joinedTokens(goldenSalt(t))
	assert.Len(t, joined, 2)
	assert.Equal(t, `{"type":"constellation-state-disk","keyslots":[],"diskIsInitialized":true}`, string(joined["0"]))
	assert.Equal(t, `{"type":"disk-mapper-salt","keyslots":[],"salt":"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="}`, string(joined["1"]))
}

func TestSaltComesFromTheToken(t *testing.T) {
	h, area, _ := preparedDisk(t)
	want := salt(t)
	h.metadata.Tokens = joinedTokens(want)
	d, err := Open(t.Context(), diskFile(t, image(t, h, area)))
	require.NoError(t, err)
	got, ok := d.Salt()
	require.True(t, ok)
	assert.Equal(t, want.Bytes(), got.Bytes())
}

// TestLibcryptsetupOpensOurHeaders holds keyslot, digest, JSON and checksums
// against the real library.
func TestLibcryptsetupOpensOurHeaders(t *testing.T) {
	h, area, key := preparedDisk(t)
	path := diskFile(t, image(t, h, area))
	open := func(key keys.DiskKey) ([]byte, error) {
		cmd := exec.Command("cryptsetup", "open", "--test-passphrase", "--key-file=-", path)
		cmd.Stdin = bytes.NewReader(key.Bytes())
		return cmd.CombinedOutput()
	}
	out, err := open(key)
	require.NoError(t, err, "%s", out)
	out, err = open(keys.RandomDiskKey())
	require.Error(t, err)
	assert.Contains(t, string(out), "No key available")
}

func TestEnroll(t *testing.T) {
	h, area, key := preparedDisk(t)
	path := diskFile(t, image(t, h, area))
	d, err := Open(t.Context(), path)
	require.NoError(t, err)
	final, wantSalt := keys.RandomDiskKey(), salt(t)

	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.ErrorIs(t, d.Enroll(final, final, wantSalt), keys.ErrWrongKey)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "a failed enrolment writes nothing")

	require.ErrorIs(t, d.Enroll(key, keys.DiskKey{}, wantSalt), keys.ErrLength, "an empty passphrase opens for everybody")
	require.ErrorIs(t, d.Enroll(key, final, keys.MeasurementSalt{}), keys.ErrLength)
	require.NoError(t, d.Enroll(key, final, wantSalt))
	joined, err := Open(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, Joined, joined.State())
	assert.Equal(t, d.ID(), joined.ID())
	assert.NoError(t, joined.Prove(final))
	assert.ErrorIs(t, joined.Prove(key), keys.ErrWrongKey)
	assert.Error(t, joined.Enroll(final, key, wantSalt), "joined once")
	_, err = joined.Format(t.Context(), key, FirstRegion, nil)
	assert.ErrorContains(t, err, "refusing to format")
}

func TestOpenRefusesSmallAndUnreadableDisks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := Open(t.Context(), path)
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, "size", refusal.Field)

	_, err = Open(t.Context(), path+"-missing")
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(t.Context(), filepath.Dir(path))
	assert.ErrorIs(t, err, unix.EISDIR)

	pipe := path + "-pipe"
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	w, err := os.OpenFile(pipe, os.O_RDWR, 0)
	require.NoError(t, err)
	defer w.Close()
	_, err = Open(t.Context(), pipe)
	assert.ErrorIs(t, err, unix.ESPIPE, "a pipe has no size, and is not a small disk")
}

// TestStorageThatDoesNotAnswer: a pipe that nobody writes to is a disk whose
// reads never return.
func TestStorageThatDoesNotAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	errGone := errors.New("out of patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGone)
	_, err := Open(ctx, path)
	require.ErrorIs(t, err, errGone)
	w, err := os.OpenFile(path, os.O_RDWR, 0) // lets the abandoned read end
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

// BenchmarkOpen is the way from opening a disk to the verdict on a good header.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "disk")
	joinedDisk(b).write(path)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		_, err := Open(b.Context(), path)
		require.NoError(b, err)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
}
