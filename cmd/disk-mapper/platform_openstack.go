//go:build !no_openstack

package main

import (
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/openstack"
)

func openstackMetadata(cloud.Release) cloud.Metadata { return openstack.New() }
