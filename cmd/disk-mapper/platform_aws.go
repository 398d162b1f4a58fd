//go:build !no_aws

package main

import (
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/aws"
)

func awsMetadata(cloud.Release) cloud.Metadata { return aws.New() }
