// Package openstack finds the nodes of a cluster on OpenStack: through the metadata
// service, whose user data has a login, and the APIs of Keystone, Neutron and Nova.
// The user needs a default project and may read its networks, subnets and servers.
//
// Trust boundary: all of it is the adversary's word, see package cloud. The
// password in the user data is a secret nevertheless, and in no error.
package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/printable"
)

// Client implements cloud.Metadata.
type Client struct {
	url     string // of the metadata service
	http    *http.Client
	session *cloud.Session[session]
}

// New returns a client of the platform. It asks nobody yet.
func New() *Client {
	c := &Client{url: cloud.MetadataURL, http: cloud.NewHTTPClient()}
	c.session = cloud.NewSession(c.open)
	return c
}

// instance is this server as the metadata service describes it.
type instance struct {
	ID   string            `json:"uuid"`
	Name string            `json:"name"`
	Meta map[string]string `json:"meta"`
}

// Self is the server that asks. It needs no login. An address that cannot be had
// is missing, and no more than that.
func (c *Client) Self(ctx context.Context) (cloud.Instance, error) {
	self, err := c.instance(ctx)
	if err != nil {
		return cloud.Instance{}, err
	}
	address, _ := c.address(ctx)
	return cloud.Instance{Name: self.Name, ProviderID: self.ID, Role: cloud.ParseRole(self.Meta[cloud.RoleTag]), VPCIP: address}, nil
}

// Nodes are the servers with the same UID, as far as they fit on the pages that
// are read.
func (c *Client) Nodes(ctx context.Context) ([]cloud.Instance, error) {
	return cloud.Use(ctx, c.session, session.nodes)
}

// LoadBalancer is what the user data names. It needs no login.
func (c *Client) LoadBalancer(ctx context.Context) (string, error) {
	data, err := c.userData(ctx)
	if err == nil && data.LoadBalancer == "" {
		err = errors.New("the user data has no openstack-load-balancer-endpoint")
	}
	return data.LoadBalancer, err
}

func (c *Client) instance(ctx context.Context) (self instance, err error) {
	err = c.getJSON(ctx, "/openstack/2018-08-27/meta_data.json", &self)
	if err == nil && self.ID == "" && self.Name == "" {
		err = errors.New("reading meta_data.json: the answer describes no server")
	}
	return self, err
}

// address is this server's in the VPC.
func (c *Client) address(ctx context.Context) (string, error) {
	raw, err := c.get(ctx, "/1.0/meta-data/local-ipv4")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(raw)), nil
}

func (c *Client) userData(ctx context.Context) (data userData, err error) {
	return data, c.getJSON(ctx, "/openstack/2018-08-27/user_data", &data)
}

func (c *Client) getJSON(ctx context.Context, path string, value any) error {
	raw, err := c.get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, value); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

func (c *Client) get(ctx context.Context, path string) ([]byte, error) {
	raw, status, err := cloud.Get(ctx, c.http, c.url+path, "", "")
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	if status/100 != 2 {
		return nil, fmt.Errorf("asking for %s: the metadata service answered with status %d", path, status)
	}
	return raw, nil
}

// open logs in. Where this server is, is worth knowing, but not necessary.
func (c *Client) open(ctx context.Context) (session, error) {
	self, err := c.instance(ctx)
	if err != nil {
		return session{}, err
	}
	uid := self.Meta[cloud.UIDTag]
	if uid == "" {
		return session{}, fmt.Errorf("the metadata of this server, %s, has no %s", printable.Quote(self.Name), cloud.UIDTag)
	}
	data, err := c.userData(ctx)
	if err != nil {
		return session{}, err
	}
	s, err := data.login(ctx, c.http)
	if err != nil {
		return session{}, fmt.Errorf("logging in to OpenStack: %w", err)
	}
	address, _ := c.address(ctx)
	s.own, _ = netip.ParseAddr(address)
	s.tag = cloud.UIDTag + "-" + uid
	return s, nil
}
