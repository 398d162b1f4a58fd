//go:build no_openstack

package main

var openstackMetadata newMetadata
