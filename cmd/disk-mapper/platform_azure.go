//go:build !no_azure

package main

import (
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/azure"
)

func azureMetadata(release cloud.Release) cloud.Metadata { return azure.New(release) }
