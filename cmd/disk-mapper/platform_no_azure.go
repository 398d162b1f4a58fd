//go:build no_azure

package main

var azureMetadata newMetadata
