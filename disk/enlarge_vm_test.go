//go:build vm

package disk

import (
	"fmt"
	"os"
	"testing"

	"disk-mapper/internal/keys"

	cryptsetup "github.com/martinjungblut/go-cryptsetup"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func zeroOut(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, makeZeros(f, span{0, size}))
}

// TestFreshEnlarged: a disk of a node that has joined becomes larger, by much or by
// little, and every sector that is mapped afterwards can be read, from the first
// moment on; also if the power was cut after dm-integrity had entered the new size.
func TestFreshEnlarged(t *testing.T) {
	newDiskGuestOnly(t)
	command(t, nil, "dmesg", "--clear")
	const name = "enlarged"
	size := 330 * mib // so small that little is left to grow
	linear := mains{disk: newDisks[5].path, path: "/dev/mapper/mains", size: size}
	command(t, nil, "dmsetup", "create", "mains", "--table", linear.table())
	m := makeDisk(t, linear.path, name, FirstRegion)
	m.enrol(t)
	m.grow(t, never)
	m.unmount(t)

	for i, tc := range []struct {
		gain int64
		cut  bool
	}{{4096 * 4, false}, {15 * mib, false}, {4 * mib, true}, {40 * mib, true}} {
		about := fmt.Sprintf("%d: %d KiB more, cut: %v", i, tc.gain/1024, tc.cut)
		linear.size += tc.gain
		linear.swap(t, linear.table())
		if tc.cut {
			m.mapOnce(t)
		}
		for boot := range 2 { // the first may map the size from before
			m.reopen(t)
			m.mount(t)
			mapped := sizeOf(t, m.mapping)
			assert.True(t, readable(m.mapping, span{max(0, mapped-endRegion), mapped}), "%s, boot %d", about, boot)
			if boot == 1 {
				assert.LessOrEqual(t, linear.size-mapped, 60*mib, about)
				p, err := Growth(m.mapping)
				require.NoError(t, err)
				if tc.gain >= 2*worthGrowing {
					assert.Less(t, p.Done, p.Total, about)
				}
				m.grow(t, never)
			}
			m.unmount(t)
		}
		t.Log(about)
	}
	m.mount(t)
	m.sound(t)
	m.unmount(t)
	quietKernel(t)
	command(t, nil, "dmsetup", "remove", "--retry", "mains")
}

// enrol makes a disk Joined, with another key.
func (m *made) enrol(t *testing.T) {
	t.Helper()
	final, salt := keys.RandomDiskKey(), salt(t)
	require.NoError(t, WriteNodeState(m.dir, RoleWorker, salt))
	require.NoError(t, m.Enroll(m.key, final, salt))
	m.key = final
	m.reopen(t)
}

func (m *made) reopen(t *testing.T) {
	t.Helper()
	d, err := Open(t.Context(), m.path)
	require.NoError(t, err)
	require.Equal(t, Joined, d.State())
	m.Device = d
}

// mapOnce is an unlock that ends after dm-integrity has entered the new size.
func (m *made) mapOnce(t *testing.T) {
	t.Helper()
	m.reopen(t)
	require.True(t, m.enlarged())
	volumeKey, err := m.volumeKey(m.key)
	require.NoError(t, err)
	image, err := m.header.image(m.area)
	require.NoError(t, err)
	f, err := memoryFile(image)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, onDisk(f.Name(), m.path, func(c *cryptsetup.Device) error {
		if err := c.Load(cryptsetup.LUKS2{}); err != nil {
			return err
		}
		if err := c.ActivateByVolumeKey(privateMapping, uncopied(volumeKey.Bytes()), volumeKeySize, mapFlags|cryptsetup.CRYPT_ACTIVATE_PRIVATE); err != nil {
			return err
		}
		return c.Deactivate(privateMapping)
	}))
	m.reopen(t)
	require.False(t, m.enlarged(), "dm-integrity has entered it")
	tagged, err := m.endIsTagged()
	require.NoError(t, err)
	require.False(t, tagged)
}
