package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Handover is where the daemon leaves what the booted system needs: the paths
// and contents are the published ones.
type Handover struct {
	// Root is "/", or where a test wants the files.
	Root string
}

const (
	unitDir  = "run/systemd/system"
	unitName = "systemd-cryptsetup@state.service"
)

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
	device := strings.NewReplacer("/", "-", "-", `\x2d`).Replace(strings.Trim(diskPath, "/")) + ".device" // as systemd-escape, for names of devices
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
