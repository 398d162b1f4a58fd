//go:build !no_gcp

package main

import (
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/gcp"
)

func gcpMetadata(release cloud.Release) cloud.Metadata { return gcp.New(release) }
