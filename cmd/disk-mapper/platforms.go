package main

import (
	"cmp"
	"fmt"
	"strings"

	"disk-mapper/attestation"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/qemu"
	"disk-mapper/internal/printable"
)

// platform is one row of the table of what depends on where the VM runs.
type platform struct {
	name      string
	variant   attestation.Variant // unless one is chosen
	variant21 attestation.Variant // the same in profile 2.1, if it is another
	stateDisk map[string]string   // by profile
	find      finder              // looks for it where no rule of udev does; or nil
	metadata  newMetadata         // nil if this build leaves the platform out
}

// newMetadata says how a platform is asked; it asks nobody yet.
type newMetadata func(cloud.Release) cloud.Metadata

// Platforms with an SDK have a file each, platform_NAME.go, that the build tag
// no_NAME replaces with platform_no_NAME.go.
var platforms = []platform{
	{
		name:    "qemu",
		variant: attestation.QEMUVTPM,
		stateDisk: map[string]string{
			attestation.Profile224.Name: "/dev/vdb",
			attestation.Profile21.Name:  "/dev/vda",
		},
		metadata: func(cloud.Release) cloud.Metadata { return qemu.New(qemu.MetadataURL) },
	},
	{
		name:    "azure",
		variant: attestation.AzureSEVSNP,
		stateDisk: map[string]string{
			attestation.Profile224.Name: "/dev/disk/azure/scsi1/lun0",
			attestation.Profile21.Name:  "/dev/disk/azure/scsi1/lun0",
		},
		find:     findAzure,
		metadata: azureMetadata,
	},
	{
		name:      "gcp",
		variant:   attestation.GCPSEVSNP,
		variant21: attestation.GCPSEVES,
		stateDisk: map[string]string{
			attestation.Profile224.Name: "/dev/disk/by-id/google-state-disk",
			attestation.Profile21.Name:  "/dev/disk/by-id/google-state-disk",
		},
		find:     findGCP,
		metadata: gcpMetadata,
	},
	{
		name:    "aws",
		variant: attestation.AWSSEVSNP,
		stateDisk: map[string]string{
			attestation.Profile224.Name: "/dev/sdb",
			attestation.Profile21.Name:  "/dev/sdb",
		},
		find:     findAWS,
		metadata: awsMetadata,
	},
	{
		name:    "openstack",
		variant: attestation.QEMUVTPM,
		stateDisk: map[string]string{
			attestation.Profile224.Name: "/dev/vdb",
			attestation.Profile21.Name:  "/dev/vdb",
		},
		metadata: openstackMetadata,
	},
}

// otherNames are of platforms that are run by somebody under a name of their own.
var otherNames = map[string]string{"stackit": "openstack"}

// releases says, by profile, how clusters mark their nodes.
var releases = map[string]cloud.Release{
	attestation.Profile224.Name: cloud.Release224,
	attestation.Profile21.Name:  cloud.Release21,
}

// defaultVariant is how machines attest themselves unless one says otherwise.
func (p platform) defaultVariant(profile attestation.Profile) attestation.Variant {
	if profile.Name == attestation.Profile21.Name {
		return cmp.Or(p.variant21, p.variant)
	}
	return p.variant
}

// platformNames are those in this build.
func platformNames() string {
	var names []string
	for _, p := range platforms {
		if p.metadata != nil {
			names = append(names, p.name)
		}
	}
	return strings.Join(names, ", ")
}

// findPlatform ignores case, as the published daemons do.
func findPlatform(name string) (platform, error) {
	lower := strings.ToLower(name)
	for _, p := range platforms {
		if p.name != cmp.Or(otherNames[lower], lower) {
			continue
		}
		if p.metadata == nil {
			return platform{}, fmt.Errorf("cloud platform %q was left out of this build, which has: %s", p.name, platformNames())
		}
		return p, nil
	}
	return platform{}, fmt.Errorf("unknown cloud platform %s, want one of: %s (flag -csp, or constel.csp= on the kernel command line)", printable.Quote(name), platformNames())
}
