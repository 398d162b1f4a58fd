package openstack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"disk-mapper/internal/cloud"

	"github.com/gophercloud/gophercloud/v2"
)

const pageSize = 100 // a server takes some 3 KiB of an answer

// session is a server that has logged in.
type session struct {
	compute, network *gophercloud.ServiceClient
	tag              string     // of all that belongs to the cluster
	own              netip.Addr // of this server, or not valid
}

// server is one as Nova lists it, as far as it matters.
type server struct {
	ID        string               `json:"id"`
	Name      string               `json:"name"`
	Tags      []string             `json:"tags"`
	Addresses map[string][]address `json:"addresses"` // by network
}

type address struct {
	Addr string `json:"addr"`
	Type string `json:"OS-EXT-IPS:type"`
}

func (s session) nodes(ctx context.Context) ([]cloud.Instance, error) {
	subnets, err := s.subnets(ctx)
	if err != nil {
		return nil, err
	}
	var nodes []cloud.Instance
	err = list(ctx, s.compute, "servers/detail", "servers", s.tag, func(v server) {
		if slices.Contains(v.Tags, s.tag) && v.ID != "" {
			nodes = append(nodes, cloud.Instance{Name: v.Name, ProviderID: v.ID, Role: v.role(), VPCIP: v.address(subnets)})
		}
	})
	if nodes == nil && err == nil {
		return nil, fmt.Errorf("no server has the tag %q", s.tag)
	}
	return nodes, err
}

func (v server) role() cloud.Role {
	for _, tag := range v.Tags {
		if role, ok := strings.CutPrefix(tag, cloud.RoleTag+"-"); ok {
			return cloud.ParseRole(role)
		}
	}
	return cloud.Unknown
}

// address is the server's own one in the first of the subnets where it has one.
// It is "" if there is none.
func (v server) address(subnets []netip.Prefix) string {
	for _, subnet := range subnets {
		for _, network := range slices.Sorted(maps.Keys(v.Addresses)) {
			for _, a := range v.Addresses[network] {
				if ip, err := netip.ParseAddr(a.Addr); err == nil && a.Type == "fixed" && subnet.Contains(ip) {
					return ip.String()
				}
			}
		}
	}
	return ""
}

// list hands on what has the tag, from all pages or those before one that fails, one
// page at a time: together they may be long. An item of another shape is there as
// far as it can be read, and costs none of the others. Of the link to the next page
// only the query counts: the token goes where the catalog says.
func list[T any](ctx context.Context, service *gophercloud.ServiceClient, path, key, tag string, take func(T)) error {
	query := url.Values{"tags": {tag}, "limit": {strconv.Itoa(pageSize)}}.Encode()
	for n := 0; n < cloud.MaxPages && query != ""; n++ {
		var page map[string]json.RawMessage
		if _, err := service.Get(ctx, service.ServiceURL(path)+"?"+query, &page, nil); err != nil {
			return fmt.Errorf("listing %s: %w", key, told(err))
		}
		if err := each(page[key], take); err != nil {
			return fmt.Errorf("listing %s: reading the list: %w", key, err)
		}
		query = next(page[key+"_links"])
	}
	return nil
}

// each hands on the items of an array one by one: a short text can hold so many that
// together they take far more memory. What has another type in one is left out.
func each[T any](raw json.RawMessage, take func(T)) error {
	items := json.NewDecoder(bytes.NewReader(raw))
	if start, err := items.Token(); err != nil || start != json.Delim('[') {
		return errors.New("want an array")
	}
	for items.More() {
		var item T
		err := items.Decode(&item)
		if _, otherType := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !otherType {
			return err
		}
		take(item)
	}
	return nil
}

// next is the query of the next page, or "" if there is none.
func next(links json.RawMessage) (query string) {
	_ = each(links, func(link struct{ Rel, Href string }) { // the last page has none
		if at, err := url.Parse(link.Href); err == nil && link.Rel == "next" {
			query = at.RawQuery
		}
	})
	return query
}
