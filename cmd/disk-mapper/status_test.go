package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"disk-mapper/setup"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// grownTo is a file of 1 GiB with an ext4 file system of this many MiB, as far as
// its superblock goes.
func grownTo(t *testing.T, mib uint32) string {
	t.Helper()
	raw := make([]byte, 4096)
	for at, value := range map[int]uint32{0x4: mib * 256, 0x18: 2, 0x20: 1 << 15, 0x38: 0xef53} {
		binary.LittleEndian.PutUint32(raw[1024+at:], value)
	}
	path := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	require.NoError(t, os.Truncate(path, 1<<30))
	return path
}

func TestStatus(t *testing.T) {
	record := filepath.Join(t.TempDir(), "run", "grow.json")
	check := func(mapping, state, text string) growthStatus {
		t.Helper()
		s, err := newGrowthStatus(mapping, record)
		require.NoError(t, err)
		assert.Equal(t, state, s.State)
		var out bytes.Buffer
		require.NoError(t, s.printText(&out))
		assert.Equal(t, mapping+"  "+text, out.String()[:len(mapping)+2+len(text)])
		assert.Contains(t, out.String(), " of 1.0 GiB (")
		return s
	}
	half := grownTo(t, 512)
	check(half, "waiting", "the file system is to grow, and disk-mapper grow does not run")

	r, err := startPaceRecord(record)
	require.NoError(t, err)
	begun := check(half, "growing", "the file system grows")
	var early bytes.Buffer
	require.NoError(t, begun.printText(&early))
	assert.Regexp(t, `(?m)^rate +not known yet\nremaining +not known yet$`, early.String())
	require.NoError(t, r.write(setup.Pace{Percent: 50, Rate: 100.5, Remaining: 90 * time.Second}))
	require.NoError(t, r.write(setup.Pace{Percent: 50, Rate: 64, Remaining: 8 * time.Second}), "a shorter one")
	s := check(half, "growing", "the file system grows")
	var text, object bytes.Buffer
	require.NoError(t, s.printText(&text))
	assert.Regexp(t, `(?m)^file system +0.5 of 1.0 GiB \(50%\)\nrate +64.0 MiB/s\nremaining +8s$`, text.String())
	require.NoError(t, printJSON(&object, s))
	assert.JSONEq(t, `{"mapping":"`+half+`","state":"growing","fileSystemBytes":536870912,"finalBytes":1073741824,
		"progressPercent":50,"rateMiBPerSecond":64,"remainingSeconds":8}`, object.String())

	_, err = startPaceRecord(record)
	assert.ErrorContains(t, err, "another disk-mapper grow runs")
	r.end()
	check(half, "waiting", "the file system is to grow")
	r, err = startPaceRecord(record)
	require.NoError(t, err, "the lock ends with its owner")
	defer r.end()

	s, err = newGrowthStatus(grownTo(t, 1010), record)
	require.NoError(t, err)
	var complete map[string]any
	object.Reset()
	require.NoError(t, printJSON(&object, s))
	require.NoError(t, json.Unmarshal(object.Bytes(), &complete))
	assert.Equal(t, "complete", complete["state"])
	assert.EqualValues(t, 100, complete["progressPercent"])
	assert.NotContains(t, complete, "rateMiBPerSecond")
}

// TestRestIsSaid: on the console of a boot whose disk is to grow, and only there.
func TestRestIsSaid(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	sayRest(grownTo(t, 512), zap.New(core))
	require.Equal(t, 1, logs.Len())
	assert.Equal(t, map[string]any{"fileSystemBytes": int64(512 << 20), "finalBytes": int64(1 << 30)}, logs.All()[0].ContextMap())
	sayRest(grownTo(t, 1010), zap.New(core))
	sayRest("/nothing/there", zap.New(core))
	assert.Equal(t, 1, logs.Len())
}

// TestWithoutStateDisk: on a machine without a mapping, both commands say so.
func TestWithoutStateDisk(t *testing.T) {
	for _, args := range [][]string{{"status"}, {"status", "-json"}, {"grow"}} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, 1, run(t.Context(), args, env(nil), &stdout, &stderr))
		assert.Empty(t, stdout.String())
		assert.Contains(t, stderr.String(), "/dev/mapper/state: no such file or directory")
	}
	for _, args := range [][]string{{"status", "-nope"}, {"status", "x"}, {"grow", "-nope"}, {"grow", "x"}} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, exitUsage, run(t.Context(), args, env(nil), &stdout, &stderr), "%v", args)
		assert.NotEmpty(t, stderr.String())
	}
	for _, args := range [][]string{{"status", "-help"}, {"grow", "-help"}} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, 0, run(t.Context(), args, env(nil), &stdout, &stderr))
		assert.Contains(t, stderr.String(), "disk-mapper "+args[0])
	}
}
