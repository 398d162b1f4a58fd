// Package gcp finds the nodes of a cluster on Google Cloud: where this one is by the
// metadata server, all else by the compute API.
//
// Of the two official clients of that API this is the one made from its JSON form.
// The other one doubles the size of the daemon.
//
// Trust boundary: all answers are the platform's. They are bounded in size, number
// and time; what they say is judged by package cloud and its users.
package gcp

import (
	"context"
	"errors"
	"net/http"

	"disk-mapper/internal/cloud"

	"google.golang.org/api/compute/v1"
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

// Self is this node. The metadata server does not know labels, so the API is asked.
func (c *Client) Self(ctx context.Context) (cloud.Instance, error) { return cloud.Bounded(ctx, c.self) }

// Nodes are the instances of the cluster in all zones.
func (c *Client) Nodes(ctx context.Context) ([]cloud.Instance, error) {
	return cloud.Bounded(ctx, c.nodes)
}

// LoadBalancer is the address of the cluster's load balancer, a global one before
// one of this region.
func (c *Client) LoadBalancer(ctx context.Context) (string, error) {
	return cloud.Bounded(ctx, c.loadBalancer)
}

func (c *Client) self(ctx context.Context) (cloud.Instance, error) {
	p, own, err := c.own(ctx)
	if err != nil {
		return cloud.Instance{}, err
	}
	return p.node(own), nil
}

func (c *Client) nodes(ctx context.Context) ([]cloud.Instance, error) {
	p, uid, err := c.cluster(ctx)
	if err != nil {
		return nil, err
	}
	return p.nodes(ctx, uid)
}

func (c *Client) loadBalancer(ctx context.Context) (string, error) {
	p, uid, err := c.cluster(ctx)
	if err != nil {
		return "", err
	}
	address, globalErr := p.globalBalancer(ctx, uid)
	if address != "" {
		return address, nil
	}
	address, regionalErr := p.regionalBalancer(ctx, uid)
	if address != "" {
		return address, nil
	}
	return "", errors.Join(globalErr, regionalErr, errors.New("found no forwarding rule of the cluster, want one with an address"))
}

// own is this node, in its project.
func (c *Client) own(ctx context.Context) (project, *compute.Instance, error) {
	p, err := c.project(ctx)
	if err != nil {
		return project{}, nil, err
	}
	own, err := p.own(ctx)
	return p, own, err
}

// cluster is the project with the uid of this node's cluster.
func (c *Client) cluster(ctx context.Context) (project, string, error) {
	p, own, err := c.own(ctx)
	if err != nil {
		return project{}, "", err
	}
	uid := c.marks.of(own)[cloud.UIDTag]
	if uid == "" {
		return project{}, "", errNoUID
	}
	return p, uid, nil
}

var errNoUID = errors.New("this node is not marked with " + cloud.UIDTag + ", so its cluster is not known")
