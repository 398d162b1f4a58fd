package gcp

import (
	"disk-mapper/internal/cloud"

	"google.golang.org/api/compute/v1"
)

// marks is how a release marks what belongs to a cluster.
type marks struct {
	// of are the marks of an instance by name, the cluster's uid and the role
	// among them.
	of func(*compute.Instance) map[string]string
	// filter, with the uid behind it, lets the platform leave out others; empty if
	// it cannot. It looks for what contains the uid, so what is left is compared.
	filter string
	// use is the label of the load balancer that is meant; empty if any is.
	use string
}

const (
	byUID    = "labels." + cloud.UIDTag + ":"
	useLabel = "constellation-use"
)

var releases = map[cloud.Release]marks{
	cloud.Release224: {labels, byUID, "kubernetes"},
	cloud.Release21:  {items, "", ""},
}

func labels(i *compute.Instance) map[string]string { return i.Labels }

func items(i *compute.Instance) map[string]string {
	marks := map[string]string{}
	if i.Metadata == nil {
		return marks
	}
	for _, item := range i.Metadata.Items {
		if item != nil && item.Value != nil {
			marks[item.Key] = *item.Value
		}
	}
	return marks
}
