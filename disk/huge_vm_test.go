//go:build vm

package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestFreshHuge: the file system of a disk of 1 TiB grows from 256 MiB, which is 4096
// times its size, in the kernel, and is sound. What is wiped is zeros already.
func TestFreshHuge(t *testing.T) {
	newDiskGuestOnly(t)
	command(t, nil, "dmesg", "--clear")
	growHuge(t, tib, layout{tib}.least())
	quietKernel(t)
}

// TestFreshBeyondReserve: where the tables can grow in place no more, the kernel
// changes to another layout of them, and the file system is sound.
func TestFreshBeyondReserve(t *testing.T) {
	newDiskGuestOnly(t)
	command(t, nil, "dmesg", "--clear")
	growHuge(t, maxReserve+100*gib, maxReserve-20*gib)
	quietKernel(t)
}

// hugeDisk has nothing on it, as long as each size is asked for once. A file of the
// build machine holds less than 16 TiB, so there it is two.
func hugeDisk(t *testing.T, size int64) string {
	t.Helper()
	switch size {
	case tib:
		return newDisks[10].path
	case 9 * tib:
		return newDisks[11].path
	case maxReserve + 100*gib:
		command(t, nil, "dmsetup", "create", "beyond", "--table", fmt.Sprintf("0 %d linear %s 0", size/512, newDisks[8].path))
		return "/dev/mapper/beyond"
	}
	table := fmt.Sprintf("0 %d linear %s 0\n%d %d linear %s 0", 9*tib/512, newDisks[7].path, 9*tib/512, (size-9*tib)/512, newDisks[8].path)
	command(t, []byte(table), "dmsetup", "create", "huge")
	return "/dev/mapper/huge"
}

// growHuge grows a file system from one size to another and returns in how many steps.
func growHuge(t *testing.T, size, from int64) (steps int) {
	t.Helper()
	mapping := hugeDisk(t, size)
	dir, l := t.TempDir(), layout{size}
	m, err := findMke2fs()
	require.NoError(t, err)
	require.NoError(t, m.make(t.Context(), l, mapping, from))
	mount := func() { require.NoError(t, unix.Mount(mapping, dir, "ext4", 0, "init_itable=1000")) }
	mount()
	w, err := openWiper(mapping)
	require.NoError(t, err)
	others, err := newForeground(w.device, dir)
	require.NoError(t, err)
	others.alone = tib // there is nothing to look for between two strides
	g := grower{zeroer: zeros{}, layout: l, mapping: mapping, others: others, resize: func(size int64) error { return resize(mapping, dir, size) }}
	start := time.Now()
	file := func(step int) string { return filepath.Join(dir, fmt.Sprint("file-", step)) }
	require.NoError(t, g.run(t.Context(), from, func(Progress) {
		if steps++; steps%4 == 0 {
			require.NoError(t, os.WriteFile(file(steps), []byte(file(steps)), 0o600))
		}
	}))
	grew := time.Since(start)
	require.NoError(t, w.Close())
	require.NoError(t, unix.Unmount(dir, 0))
	began := time.Now()
	command(t, nil, "e2fsck", "-f", "-n", mapping)
	t.Logf("%d steps, growth %.0f s, e2fsck %.0f s", steps, grew.Seconds(), time.Since(began).Seconds())
	beyond := strings.Contains(command(t, nil, "dumpe2fs", "-h", mapping), " meta_bg")
	require.Equal(t, size > maxReserve, beyond)
	found, fileSystem, err := measure(mapping)
	require.NoError(t, err)
	require.Equal(t, l, found)
	require.Equal(t, l.final(), fileSystem)
	mount()
	for i := 4; i <= steps; i += 4 {
		raw, err := os.ReadFile(file(i))
		require.NoError(t, err)
		require.Equal(t, file(i), string(raw))
	}
	require.NoError(t, unix.Unmount(dir, 0))
	return steps
}

// zeros is the wiper of a disk that holds nothing else.
type zeros struct{}

func (zeros) wipe(context.Context, span, func(int64)) error { return nil }
func (zeros) sync() error                                   { return nil }
