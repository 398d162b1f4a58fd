//go:build no_gcp

package main

var gcpMetadata newMetadata
