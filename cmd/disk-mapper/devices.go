package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"disk-mapper/internal/printable"
)

// maxDevices is how many are listed in an error.
const maxDevices = 32

// devices are the block devices of a machine.
type devices struct {
	sys, dev string
	identify func(path string, structure uint32) (*identifyPage, error)
}

var thisMachine = devices{"/sys", "/dev", identifyNVMe}

// await gives the kernel and udev time to bring up the state disk, and returns its
// path without links: systemd knows a disk by the name of its device. It is at path,
// or is what find finds where no rule of udev makes path; find may be nil.
func (d devices) await(ctx context.Context, path string, find finder) (string, error) {
	var found string
	var unseen, err error
	ended := poll(ctx, diskTimeout, func() bool {
		found, unseen, err = d.locate(path, find)
		return found != "" || err != nil
	})
	if errors.Is(ended, errNotInTime) {
		return "", d.missing(path, unseen)
	}
	return found, cmp.Or(ended, err)
}

func (d devices) missing(path string, unseen error) error {
	err := fmt.Errorf("state disk %s did not appear within %v; block devices here: %s", path, diskTimeout, d)
	if unseen != nil {
		err = fmt.Errorf("%w; one of them could not be looked at: %w", err, printable.Error(unseen))
	}
	return err
}

// whole are the names of those that are no partitions.
func (d devices) whole() (names []string) {
	entries, _ := os.ReadDir(filepath.Join(d.sys, "class/block"))
	for _, entry := range entries {
		if _, err := os.Stat(d.attributePath(entry.Name(), "partition")); err != nil {
			names = append(names, entry.Name())
		}
	}
	return names
}

func (d devices) attributePath(name, attribute string) string {
	return filepath.Join(d.sys, "class/block", name, attribute)
}

// attribute is "" if the device has none of that name.
func (d devices) attribute(name, attribute string) string {
	raw, _ := os.ReadFile(d.attributePath(name, attribute))
	return strings.TrimSpace(string(raw))
}

// String lists those with a size.
func (d devices) String() string {
	var all []string
	for _, name := range d.whole() {
		sectors, err := strconv.ParseUint(d.attribute(name, "size"), 10, 54)
		if err == nil && sectors > 0 {
			all = append(all, d.describe(name, sectors*512))
		}
	}
	if len(all) > maxDevices {
		all = append(all[:maxDevices], fmt.Sprintf("and %d more", len(all)-maxDevices))
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// describe quotes what is the host's, and what a disk says of itself.
func (d devices) describe(name string, bytes uint64) string {
	model, serial := d.attribute(name, "device/model"), d.serial(name)
	return fmt.Sprintf("%s (%d bytes, model %s, serial %s)", printable.Text(name), bytes, printable.Quote(model), printable.Quote(serial))
}

// serial is where virtio, NVMe or SCSI have it.
func (d devices) serial(name string) string {
	for _, attribute := range []string{"serial", "device/serial"} {
		if serial := d.attribute(name, attribute); serial != "" {
			return serial
		}
	}
	page, _ := os.ReadFile(d.attributePath(name, "device/vpd_pg80"))
	return string(bytes.Trim(page[min(4, len(page)):], " \x00"))
}
