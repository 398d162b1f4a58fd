package azure

import (
	"regexp"

	"disk-mapper/internal/cloud"
)

// marks is how a release marks what belongs to a cluster.
type marks struct {
	// uid is the tag with the cluster's uid, of machines and scale sets.
	uid string
	// balancerUID is that of load balancers; empty if they carry none.
	balancerUID string
	// role is what a machine is, by its tags and the name of its scale set.
	role func(scaleSet string, tags map[string]string) cloud.Role
}

var releases = map[cloud.Release]marks{
	cloud.Release224: {cloud.UIDTag, cloud.UIDTag, roleByTag},
	cloud.Release21:  {"uid", "", roleByName},
}

func roleByTag(_ string, tags map[string]string) cloud.Role {
	return cloud.ParseRole(tags[cloud.RoleTag])
}

var (
	controlPlanes = regexp.MustCompile(`constellation-scale-set-controlplanes-[0-9A-Za-z]+$`)
	workers       = regexp.MustCompile(`constellation-scale-set-workers-[0-9A-Za-z]+$`)
)

func roleByName(scaleSet string, _ map[string]string) cloud.Role {
	switch {
	case controlPlanes.MatchString(scaleSet):
		return cloud.ControlPlane
	case workers.MatchString(scaleSet):
		return cloud.Worker
	}
	return cloud.Unknown
}
