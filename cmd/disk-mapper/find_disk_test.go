package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// machine is a sysfs and a /dev in a directory.
type machine struct {
	*testing.T
	devices
	pages map[string]*identifyPage // by name and structure
	asked int
}

func newMachine(t *testing.T) *machine {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	m := &machine{T: t, pages: map[string]*identifyPage{}}
	m.devices = devices{filepath.Join(root, "sys"), filepath.Join(root, "dev"), func(path string, structure uint32) (*identifyPage, error) {
		m.asked++
		if p := m.pages[fmt.Sprint(filepath.Base(path), structure)]; p != nil {
			return p, nil
		}
		return nil, fmt.Errorf("identifying %s: input/output error", filepath.Base(path))
	}}
	return m
}

func (m *machine) write(path, text string) {
	require.NoError(m, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m, os.WriteFile(path, []byte(text), 0o644))
}

func (m *machine) link(at, to string) {
	require.NoError(m, os.MkdirAll(filepath.Dir(at), 0o755))
	require.NoError(m, os.Symlink(to, at))
}

// add makes a device that hangs on another one, by its path below sys/devices.
func (m *machine) add(name, on string, attributes map[string]string) {
	home := filepath.Join(m.sys, "devices", on, "block", name)
	for attribute, value := range attributes {
		m.write(filepath.Join(home, attribute), value)
	}
	m.write(filepath.Join(home, "size"), "2048\n")
	m.link(filepath.Join(home, "device"), filepath.Join(m.sys, "devices", on))
	m.link(filepath.Join(m.sys, "class/block", name), home)
	m.write(filepath.Join(m.dev, name), "")
}

func (m *machine) nvme(name, model string, structure uint32, p *identifyPage) {
	on := "pci/" + name
	m.write(filepath.Join(m.sys, "devices", on, "model"), fmt.Sprintf("%-40s\n", model))
	m.write(filepath.Join(m.sys, "devices", on, "serial"), "vol0123\n")
	m.add(name, on, nil)
	m.pages[fmt.Sprint(name, structure)] = p
}

func (m *machine) gcp(name, disk string) {
	m.nvme(name, "nvme_card-pd", ofNamespace, page(384, `{"device_name":"`+disk+`","disk_type":"PERSISTENT"}`))
}

func (m *machine) aws(name, disk string) {
	m.nvme(name, "Amazon Elastic Block Store", ofController, page(3072, fmt.Sprintf("%-32s", disk)))
}

// azure is a SCSI disk on a controller of Hyper-V.
func (m *machine) azure(name, controller, address string) {
	vmbus := "vmbus/" + name
	on := vmbus + "/host0/target0/" + address
	m.write(filepath.Join(m.sys, "devices", vmbus, "device_id"), controller+"\n")
	m.write(filepath.Join(m.sys, "devices", on, "vendor"), "Msft    \n")
	m.write(filepath.Join(m.sys, "devices", on, "model"), "Virtual Disk    \n")
	m.write(filepath.Join(m.sys, "devices", on, "vpd_pg80"), "\x00\x80\x00\x05 abc \x00")
	m.add(name, on, nil)
}

func TestFindDisk(t *testing.T) {
	const root = "{00000000-0000-8899-0000-000000000000}"
	for name, tc := range map[string]struct {
		find   finder
		attach func(*machine)
		want   []string
	}{
		"GCP":                  {findGCP, func(m *machine) { m.gcp("nvme0n1", "persistent-disk-0"); m.gcp("nvme0n2", "state-disk") }, []string{"nvme0n2"}},
		"GCP, of another name": {findGCP, func(m *machine) { m.gcp("nvme0n1", "state-disk-2"); m.gcp("nvme0n2", "State-Disk") }, nil},
		"GCP, two of the name": {findGCP, func(m *machine) { m.gcp("nvme0n1", "state-disk"); m.gcp("nvme0n2", "state-disk") }, []string{"nvme0n1", "nvme0n2"}},
		"GCP, local SSD that says so": {findGCP, func(m *machine) {
			m.nvme("nvme0n1", "nvme_card", ofNamespace, page(384, `{"device_name":"state-disk"}`))
		}, nil},
		"GCP, path of a controller": {findGCP, func(m *machine) { m.gcp("nvme0c0n1", "state-disk") }, nil},
		"GCP, partition": {findGCP, func(m *machine) {
			m.gcp("nvme0n1", "state-disk")
			m.write(filepath.Join(m.sys, "class/block/nvme0n1/partition"), "1")
		}, nil},
		"AWS":                 {findAWS, func(m *machine) { m.aws("nvme0n1", "/dev/xvda"); m.aws("nvme1n1", "sdb") }, []string{"nvme1n1"}},
		"AWS, with the path":  {findAWS, func(m *machine) { m.aws("nvme0n1", "/dev/sdb"); m.aws("nvme1n1", "sdbc") }, []string{"nvme0n1"}},
		"AWS, both spellings": {findAWS, func(m *machine) { m.aws("nvme0n1", "/dev/sdb"); m.aws("nvme1n1", "sdb") }, []string{"nvme0n1", "nvme1n1"}},
		"AWS, instance store": {findAWS, func(m *machine) {
			m.nvme("nvme1n1", "Amazon EC2 NVMe Instance Storage", ofController, page(3072, "sdb"))
		}, nil},
		"AWS, name elsewhere": {findAWS, func(m *machine) { m.nvme("nvme1n1", "Amazon Elastic Block Store", ofController, page(384, "sdb")) }, nil},
		"Azure":               {findAzure, func(m *machine) { m.azure("sda", root, "0:0:0:0"); m.azure("sdb", azureDataDisks, "1:0:0:0") }, []string{"sdb"}},
		"Azure, other LUN": {findAzure, func(m *machine) {
			m.azure("sdb", azureDataDisks, "1:0:0:1")
			m.azure("sdc", azureDataDisks, "1:0:0:10")
		}, nil},
		"Azure, first channel": {findAzure, func(m *machine) { m.azure("sdb", azureDataDisks, "0:0:0:2") }, nil},
		"Azure, OS and temporary disk": {findAzure, func(m *machine) {
			m.azure("sda", "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}", "0:0:0:0")
			m.azure("sdb", "{00000000-0001-8899-0000-000000000000}", "1:0:0:0")
			m.azure("sdc", "{f8b3781b-0000-0000-0000-000000000000}", "2:0:0:0")
		}, nil},
		"Azure, two": {findAzure, func(m *machine) { m.azure("sdb", azureDataDisks, "1:0:0:0"); m.azure("sdc", azureDataDisks, "2:0:0:0") }, []string{"sdb", "sdc"}},
		"Azure, disk of others": {findAzure, func(m *machine) {
			m.azure("sdb", azureDataDisks, "1:0:0:0")
			m.write(filepath.Join(m.sys, "devices/vmbus/sdb/host0/target0/1:0:0:0/vendor"), "QEMU\n")
		}, nil},
		"Azure, no controller": {findAzure, func(m *machine) {
			m.azure("sdb", azureDataDisks, "1:0:0:0")
			require.NoError(m, os.Remove(filepath.Join(m.sys, "devices/vmbus/sdb/device_id")))
		}, nil},
		"nothing for GCP":   {findGCP, func(*machine) {}, nil},
		"nothing for AWS":   {findAWS, func(*machine) {}, nil},
		"nothing for Azure": {findAzure, func(*machine) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			tc.attach(m)
			names, err := tc.find(m.devices)
			require.NoError(t, err)
			assert.Equal(t, tc.want, names)
		})
	}
}

// TestAwaitDisk: what of a look at the machine is taken, at once.
func TestAwaitDisk(t *testing.T) {
	m := newMachine(t)
	m.aws("nvme1n1", "sdb")
	path := filepath.Join(m.dev, "sdb")
	found, err := m.await(t.Context(), path, findAWS)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(m.dev, "nvme1n1"), found)

	m.write(filepath.Join(m.dev, "nvme7n1"), "")
	m.link(path, "nvme7n1")
	m.asked = 0
	found, err = m.await(t.Context(), path, findAWS)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(m.dev, "nvme7n1"), found, "what udev has linked, without the link")
	assert.Zero(t, m.asked)

	require.NoError(t, os.Remove(path))
	m.aws("nvme2n1", "/dev/sdb")
	_, err = m.await(t.Context(), path, findAWS)
	require.ErrorContains(t, err, "want one state disk, but it can be any of nvme1n1, nvme2n1; block devices here: "+
		`nvme1n1 (1048576 bytes, model "Amazon Elastic Block Store", serial "vol0123"), nvme2n1 (`)
}

// TestAwaitDiskThatComesLater, and one that never does.
func TestAwaitDiskThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		began := time.Now()
		found, err := m.await(t.Context(), "/dev/no-such-link", func(d devices) ([]string, error) {
			if time.Since(began) == 30*time.Second {
				m.gcp("nvme0n1", "state-disk")
			}
			return findGCP(d)
		})
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(m.dev, "nvme0n1"), found)
		assert.Equal(t, 30*time.Second, time.Since(began))
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		_, err := m.await(t.Context(), "/dev/no-such-link", findGCP)
		require.EqualError(t, err, "state disk /dev/no-such-link did not appear within 1m0s; block devices here: none")

		m.azure("sda", azureDataDisks, "0:0:0:7")
		m.add("vda", "virtio0", map[string]string{"serial": "constellation"})
		m.add("loop0", "loop0", nil)
		m.write(filepath.Join(m.sys, "class/block/loop0/size"), "0\n")
		_, err = m.await(t.Context(), "/dev/no-such-link", findAzure)
		require.EqualError(t, err, `state disk /dev/no-such-link did not appear within 1m0s; block devices here: `+
			`sda (1048576 bytes, model "Virtual Disk", serial "abc"), vda (1048576 bytes, model "", serial "constellation")`)
	})
}

// TestDoubt: a disk that cannot be asked may be the second one of the name.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.aws("nvme1n1", "sdb")
		m.nvme("nvme2n1", "Amazon Elastic Block Store", ofController, nil)
		_, err := m.await(t.Context(), "/dev/no-such-link", findAWS)
		require.ErrorContains(t, err, "did not appear")
		require.ErrorContains(t, err, "one of them could not be looked at: identifying nvme2n1: input/output error")
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.aws("nvme1n1", "sdb")
		require.NoError(t, os.Remove(filepath.Join(m.dev, "nvme1n1")))
		_, err := m.await(t.Context(), "/dev/no-such-link", findAWS)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestDevicesAreListedInBounds(t *testing.T) {
	m := newMachine(t)
	for i := range 3 * maxDevices {
		m.add(fmt.Sprintf("vd%02d", i), fmt.Sprint("virtio", i), map[string]string{"serial": string(make([]byte, 2000)) + "\n\x1b[2J"})
	}
	assert.Less(t, len(m.String()), 20_000)
	assert.NotContains(t, m.String(), "\x1b")
	assert.Contains(t, m.String(), "and 64 more")
}

// TestEveryPlatformLooksForItsDisk where it has no plain name.
func TestEveryPlatformLooksForItsDisk(t *testing.T) {
	for _, p := range platforms {
		assert.Equal(t, p.name == "qemu" || p.name == "openstack", p.find == nil, p.name)
	}
}
