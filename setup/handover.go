package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"disk-mapper/internal/keys"

	"golang.org/x/sys/unix"
)

// Handover is where the daemon leaves what the booted system needs: the paths
// and contents are the published ones.
type Handover struct {
	// Root is "/", or where a test wants the files.
	Root string
}

const (
	keyFile  = "run/cryptsetup-keys.d/state.key"
	unitDir  = "run/systemd/system"
	unitName = "systemd-cryptsetup@state.service"
)

// SaveKey writes the passphrase of a new disk for the node's bootstrapper: raw
// bytes, mode 0400. It refuses a directory that is not in memory and a file that
// is already there.
func (h Handover) SaveKey(key keys.DiskKey) error {
	path := filepath.Join(h.Root, keyFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("saving the state disk key: %w", err)
	}
	if err := inMemory(filepath.Dir(path)); err != nil {
		return fmt.Errorf("saving the state disk key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return fmt.Errorf("saving the state disk key: %w", err)
	}
	if _, err := f.Write(key.Bytes()); err != nil {
		return errors.Join(fmt.Errorf("saving the state disk key: %w", err), f.Close(), h.RemoveKey())
	}
	return f.Close()
}

// ReadKey is SaveKey's counterpart, for the node's bootstrapper.
func (h Handover) ReadKey() (keys.DiskKey, error) {
	raw, err := os.ReadFile(filepath.Join(h.Root, keyFile))
	defer clear(raw)
	if err != nil {
		return keys.DiskKey{}, fmt.Errorf("reading the state disk key: %w", err)
	}
	return keys.NewDiskKey(raw)
}

// RemoveKey removes the key file. A file that is not there is
// fine.
func (h Handover) RemoveKey() error {
	path := filepath.Join(h.Root, keyFile)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func inMemory(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	if s.Type != unix.TMPFS_MAGIC && s.Type != unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is on file system type %#x, want tmpfs or ramfs", dir, s.Type)
	}
	return nil
}

// SaveUnit writes the unit by which systemd knows the mapping, and its links.
func (h Handover) SaveUnit(diskPath string) error {
	dir := filepath.Join(h.Root, unitDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("handing the state disk over to systemd: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, unitName), []byte(unit(diskPath)), 0o444); err != nil {
		return fmt.Errorf("handing the state disk over to systemd: %w", err)
	}
	for _, wants := range []string{"dev-mapper-state.device.requires", "cryptsetup.target.requires"} {
		if err := linkUnit(filepath.Join(dir, wants)); err != nil {
			return fmt.Errorf("handing the state disk over to systemd: %w", err)
		}
	}
	return nil
}

func linkUnit(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := os.Symlink("../"+unitName, filepath.Join(dir, unitName))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// unit binds to the device unit of the disk: its path with dashes for slashes.
func unit(diskPath string) string {
	device := strings.ReplaceAll(strings.Trim(diskPath, "/"), "/", "-") + ".device"
	return fmt.Sprintf(unitTemplate, device, diskPath, "/"+keyFile)
}

const unitTemplate = `# Written by disk-mapper, which has mapped the disk already.
[Unit]
Description=Encrypted state disk
DefaultDependencies=no
IgnoreOnIsolate=true
BindsTo=%[1]s
After=%[1]s cryptsetup-pre.target systemd-udevd-kernel.socket
Before=blockdev@dev-mapper-state.target cryptsetup.target umount.target
Wants=blockdev@dev-mapper-state.target
Conflicts=umount.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutSec=infinity
KeyringMode=shared
OOMScoreAdjust=500
ExecStart=/usr/lib/systemd/systemd-cryptsetup attach 'state' '%[2]s' '%[3]s' 'cipher=aes-xts-plain64,integrity=hmac-sha256'
ExecStop=/usr/lib/systemd/systemd-cryptsetup detach 'state'
`
