// Package cloud says what the daemon needs to know of the platform it runs on:
// who this node is, which others there are, and where their JoinService may be.
//
// Trust boundary: everything that comes from a platform's metadata is the
// adversary's word. It selects whom to ask and whether to listen, never what
// to believe. Each provider lives in a folder of its own.
package cloud

import (
	"context"
	"errors"
)

// ErrUnsupported reports that a platform has no such thing, for example no
// load balancer.
var ErrUnsupported = errors.New("not supported on this platform")

// Metadata is what each provider implements. Every call ends by itself within
// a few seconds.
type Metadata interface {
	// Self is this node.
	Self(ctx context.Context) (Instance, error)
	// Nodes are the nodes of the cluster, this one included. An error may come
	// with those that were found nevertheless.
	Nodes(ctx context.Context) ([]Instance, error)
	// LoadBalancer is the host name or address in front of the control plane.
	LoadBalancer(ctx context.Context) (string, error)
}

// Instance is one node as the platform describes it. The field names are those
// of the published JSON form.
type Instance struct {
	Name       string
	ProviderID string
	Role       Role
	VPCIP      string
}
