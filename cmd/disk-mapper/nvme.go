package main

import (
	"bytes"
	"encoding/json"
	"strings"
)

// identifyPage is what an NVMe controller says of itself, or of a namespace.
type identifyPage [4096]byte

// The two structures of the Identify command that are read.
const (
	ofNamespace  = 0
	ofController = 1
)

// gcpDiskName is the name that a disk of Google Cloud was attached with: a member
// of the JSON in the vendor's area of the namespace's page. It is "" if there is
// none.
func gcpDiskName(page *identifyPage) string {
	area, _, _ := bytes.Cut(page[384:], []byte{0})
	var members map[string]any // a struct would fold the case of names
	if json.Unmarshal(area, &members) != nil {
		return ""
	}
	name, _ := members["device_name"].(string)
	return name
}

// awsDiskName is the name that an EBS volume was attached with, without /dev/: 32
// bytes of the vendor's area of the controller's page, filled up with spaces.
func awsDiskName(page *identifyPage) string {
	name := strings.TrimRight(string(page[3072:3104]), " \x00")
	return strings.TrimPrefix(name, "/dev/")
}
