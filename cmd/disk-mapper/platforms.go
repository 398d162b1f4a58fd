package main

import (
	"fmt"
	"strings"

	"disk-mapper/attestation"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/qemu"
)

// platform is one row of the table of what depends on where the VM runs.
type platform struct {
	name      string
	variant   attestation.Variant // unless one is chosen
	stateDisk map[string]string   // by profile
	metadata  func() cloud.Metadata
}

var platforms = []platform{
	{
		name:    "qemu",
		variant: attestation.QEMUVTPM,
		stateDisk: map[string]string{
			attestation.Profile224.Name: "/dev/vdb",
			attestation.Profile21.Name:  "/dev/vda",
		},
		metadata: func() cloud.Metadata { return qemu.New(qemu.MetadataURL) },
	},
}

func platformNames() string {
	var names []string
	for _, p := range platforms {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// findPlatform ignores case, as the published daemons do.
func findPlatform(name string) (platform, error) {
	for _, p := range platforms {
		if p.name == strings.ToLower(name) {
			return p, nil
		}
	}
	return platform{}, fmt.Errorf("unknown cloud platform %q, want one of: %s (flag -csp, or constel.csp= on the kernel command line)", name, platformNames())
}
