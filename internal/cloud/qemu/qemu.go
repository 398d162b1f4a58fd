// Package qemu reads the metadata service of nodes that run under QEMU: plain
// HTTP at a fixed address, three paths, one JSON value each.
//
// Trust boundary: the service is the host's. Answers are bounded in size and
// time; what they say is judged by package cloud and its users.
package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/printable"
)

// MetadataURL is where every QEMU node finds its metadata service.
const MetadataURL = "http://10.42.0.1:8080"

// Client implements cloud.Metadata.
type Client struct {
	url  string
	http *http.Client
}

// New returns a client of the service at url (scheme and host only).
func New(url string) *Client { return &Client{url: url, http: cloud.NewHTTPClient()} }

// Self is the node that asks, known to the service by its source address.
func (c *Client) Self(ctx context.Context) (cloud.Instance, error) {
	var self cloud.Instance
	if err := c.get(ctx, "/self", &self); err != nil {
		return cloud.Instance{}, err
	}
	if self.Name == "" && self.VPCIP == "" {
		return cloud.Instance{}, errors.New("reading /self: the answer describes no node")
	}
	return self, nil
}

// Nodes are all nodes of the network.
func (c *Client) Nodes(ctx context.Context) ([]cloud.Instance, error) {
	var nodes []cloud.Instance
	if err := c.get(ctx, "/peers", &nodes); err != nil {
		return nil, err
	}
	return nodes, nil
}

// LoadBalancer is the first control-plane node's address: QEMU has no load
// balancer. It fails with cloud.ErrUnsupported on a service of before v2.12.
func (c *Client) LoadBalancer(ctx context.Context) (string, error) {
	var host string
	err := c.get(ctx, "/endpoint", &host)
	if status, ok := errors.AsType[*statusError](err); ok && status.code == http.StatusNotFound {
		return "", fmt.Errorf("%w: %w", cloud.ErrUnsupported, err)
	}
	return host, err
}

// statusError reports an answer other than 200.
type statusError struct {
	path string
	code int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("reading %s: the metadata service answered with status %d", e.path, e.code)
}

// get decodes the one JSON value at path into value.
func (c *Client) get(ctx context.Context, path string, value any) error {
	raw, status, err := cloud.Get(ctx, c.http, c.url+path, "", "")
	if err != nil {
		return fmt.Errorf("asking for %s: %w", path, printable.Error(err))
	}
	if status != http.StatusOK {
		return &statusError{path, status}
	}
	if err := json.Unmarshal(raw, value); err != nil {
		return fmt.Errorf("reading %s: %w", path, printable.Error(err))
	}
	return nil
}
