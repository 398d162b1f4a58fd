// Package azure finds the nodes of a cluster on Azure: this one through the
// instance metadata service, the others as virtual machines of scale sets in the
// same resource group, through the API of the resource manager.
//
// Trust boundary: all answers are the platform's. They are bounded in size, number
// and time; what they say is judged by package cloud and its users.
//
// Non-goals: clouds other than the public one, scale sets in flexible mode.
package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"disk-mapper/internal/cloud"
)

// Client implements cloud.Metadata. It keeps nothing between calls, neither tokens
// nor answers, so what was wrong once does no harm later.
type Client struct {
	http  *http.Client
	marks marks
}

// New returns a client for clusters of release. It asks nobody yet.
func New(release cloud.Release) *Client {
	return &Client{http: cloud.NewHTTPClient(), marks: releases[release]}
}

// Self is this node, by the metadata service alone: there it has the same name,
// tags and address as in the API, and asking takes no token.
func (c *Client) Self(ctx context.Context) (cloud.Instance, error) { return cloud.Bounded(ctx, c.self) }

// Nodes are the virtual machines of all scale sets of the cluster.
func (c *Client) Nodes(ctx context.Context) ([]cloud.Instance, error) {
	return cloud.Bounded(ctx, c.nodes)
}

// LoadBalancer is the address of the first load balancer of the cluster that has one.
func (c *Client) LoadBalancer(ctx context.Context) (string, error) {
	return cloud.Bounded(ctx, c.loadBalancer)
}

func (c *Client) self(ctx context.Context) (cloud.Instance, error) {
	own, err := c.own(ctx)
	if err != nil {
		return cloud.Instance{}, err
	}
	return cloud.Instance{
		Name:       own.name,
		ProviderID: providerID(own.id.String()),
		Role:       c.marks.role(own.scaleSet(), own.tags),
		VPCIP:      own.address,
	}, nil
}

func (c *Client) nodes(ctx context.Context) ([]cloud.Instance, error) {
	group, err := c.group(ctx)
	if err != nil {
		return nil, err
	}
	scaleSets, fault := group.scaleSets(ctx)
	faults := []error{fault}
	var nodes []cloud.Instance
	for _, scaleSet := range scaleSets {
		members, fault := group.members(ctx, scaleSet)
		nodes, faults = append(nodes, members...), append(faults, fault)
	}
	return nodes, errors.Join(faults...)
}

func (c *Client) loadBalancer(ctx context.Context) (string, error) {
	group, err := c.group(ctx)
	if err != nil {
		return "", err
	}
	balancers, fault := group.balancers(ctx)
	faults := []error{fault}
	for _, balancer := range balancers {
		address, fault := group.address(ctx, balancer)
		if address != "" {
			return address, nil
		}
		faults = append(faults, fault)
	}
	none := fmt.Errorf("found %d load balancers of the cluster, want one with an address", len(balancers))
	return "", errors.Join(append(faults, none)...)
}

// providerID is how the published daemons name a virtual machine.
func providerID(id string) string { return "azure://" + id }
