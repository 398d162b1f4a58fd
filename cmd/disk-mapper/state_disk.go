package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"disk-mapper/disk"
	"disk-mapper/internal/keys"

	"golang.org/x/sys/unix"
)

const (
	mappingName = "state"
	mappingPath = "/dev/mapper/" + mappingName
	// saltMount is where node_state.json is looked for on the way, not where the
	// booted system mounts the disk.
	saltMount = "/run/disk-mapper-state"

	diskTimeout = 60 * time.Second
)

// stateDisk is the disk as setup wants it: mapped by one name.
type stateDisk struct {
	*disk.Device
	extent disk.Extent // to wipe, if it is formatted
}

func openStateDisk(ctx context.Context, path string) (*stateDisk, error) {
	device, err := disk.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return &stateDisk{Device: device}, nil
}

// openUnusedDisk is openStateDisk for a boot, with open to judge the disk. It fails
// if the disk is in use: then an earlier run in this boot was killed, or has done its
// work. What is mapped may be somebody's state, and may not be measured, so only a
// reboot leads on.
func openUnusedDisk(ctx context.Context, path string, open func(context.Context, string) (*disk.Device, error)) (*stateDisk, error) {
	device, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0) // exclusive, as mounts and mappings open a disk
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s is mapped or mounted already, by an earlier run in this boot: restart the machine: %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	return &stateDisk{Device: device}, f.Close()
}

func (d *stateDisk) Joined() bool { return d.State() == disk.Joined }

func (d *stateDisk) Format(ctx context.Context, key keys.DiskKey, progress func(done, total int64)) error {
	formatted, err := d.Device.Format(ctx, key, d.extent, func(p disk.Progress) { progress(p.Done, p.Total) })
	if err == nil {
		d.Device = formatted
	}
	return err
}

func (d *stateDisk) Unlock(ctx context.Context, key keys.DiskKey) error {
	return d.Device.Unlock(ctx, mappingName, key)
}

func (d *stateDisk) HeaderSalt() (keys.MeasurementSalt, bool) { return d.Salt() }

func (d *stateDisk) PrivateSalt(ctx context.Context, key keys.DiskKey) (keys.MeasurementSalt, error) {
	return d.ReadSalt(ctx, key, saltMount)
}

func (d *stateDisk) MappedSalt(context.Context) (keys.MeasurementSalt, error) {
	return disk.ReadSalt(mappingPath, saltMount)
}

func (d *stateDisk) Close() error { return disk.Close(mappingName) }
