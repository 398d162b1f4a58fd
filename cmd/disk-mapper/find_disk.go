package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"disk-mapper/internal/printable"
)

// finder looks for the disk that a platform attached as the state disk. It returns
// the names of all that this can be. The error is of a device that it could not
// look at, and may come with names.
type finder func(devices) ([]string, error)

// locate looks once. Nothing found may come with what could not be looked at; an
// error is one that waiting does not help.
func (d devices) locate(path string, find finder) (found string, unseen, err error) {
	if found, err := filepath.EvalSymlinks(path); err == nil {
		return found, nil, nil
	}
	if find == nil {
		return "", nil, nil
	}
	names, unseen := find(d)
	if len(names) > 1 {
		return "", nil, fmt.Errorf("want one state disk, but it can be any of %s; block devices here: %s", printable.Text(strings.Join(names, ", ")), d)
	}
	if unseen != nil || len(names) == 0 { // what was not seen may be a second one
		return "", unseen, nil
	}
	found = filepath.Join(d.dev, names[0])
	if _, err := os.Stat(found); err != nil {
		return "", err, nil
	}
	return found, nil, nil
}

// findGCP knows persistent disks by the name they are attached with.
func findGCP(d devices) ([]string, error) {
	return d.findNVMe("nvme_card-pd", ofNamespace, func(p *identifyPage) bool { return gcpDiskName(p) == "state-disk" })
}

// findAWS knows EBS volumes by the name they are attached with.
func findAWS(d devices) ([]string, error) {
	return d.findNVMe("Amazon Elastic Block Store", ofController, func(p *identifyPage) bool { return awsDiskName(p) == "sdb" })
}

var nvmeNamespace = regexp.MustCompile(`^nvme[0-9]+n[0-9]+$`)

// findNVMe asks the disks of one model.
func (d devices) findNVMe(model string, structure uint32, is func(*identifyPage) bool) (names []string, unseen error) {
	for _, name := range d.whole() {
		if !nvmeNamespace.MatchString(name) || d.attribute(name, "device/model") != model {
			continue
		}
		page, err := d.identify(filepath.Join(d.dev, name), structure)
		if err != nil {
			unseen = err
		} else if is(page) {
			names = append(names, name)
		}
	}
	return names, unseen
}

const (
	// azureDataDisks is the Hyper-V controller of a machine's first data disks, the
	// one that the rules of the Azure Linux agent call scsi1.
	azureDataDisks = "{f8b3781b-1e82-4818-a1c3-63d806ec15bb}"
	azureLUN       = "0"
)

// findAzure knows data disks by controller and LUN, as the agent's rules do.
func findAzure(d devices) (names []string, _ error) {
	for _, name := range d.whole() {
		msft := d.attribute(name, "device/vendor") == "Msft" && d.attribute(name, "device/model") == "Virtual Disk"
		at, err := filepath.EvalSymlinks(d.attributePath(name, "device"))
		if err != nil || !msft {
			continue
		}
		address := strings.Split(filepath.Base(at), ":") // host, channel, target, LUN
		if len(address) == 4 && address[3] == azureLUN && d.controller(at) == azureDataDisks {
			names = append(names, name)
		}
	}
	return names, nil
}

// controller is the ID of the Hyper-V device that a device hangs on.
func (d devices) controller(at string) string {
	for ; strings.HasPrefix(at, d.sys+"/"); at = filepath.Dir(at) {
		if raw, err := os.ReadFile(filepath.Join(at, "device_id")); err == nil {
			return strings.TrimSpace(string(raw))
		}
	}
	return ""
}
