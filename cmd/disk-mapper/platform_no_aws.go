//go:build no_aws

package main

var awsMetadata newMetadata
