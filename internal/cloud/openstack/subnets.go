package openstack

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

type network struct {
	ID   string   `json:"id"`
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

type subnet struct {
	NetworkID string   `json:"network_id"`
	Name      string   `json:"name"`
	CIDR      string   `json:"cidr"`
	Tags      []string `json:"tags"`
}

// subnets are where nodes have their addresses, the best first: where this server
// has its own, then those with the name of their network, which is how clusters mark
// theirs. Both must have the tag.
func (s session) subnets(ctx context.Context) ([]netip.Prefix, error) {
	names := map[string]string{} // of networks, by ID
	err := list(ctx, s.network, "networks", "networks", s.tag, func(n network) {
		if slices.Contains(n.Tags, s.tag) {
			names[n.ID] = n.Name
		}
	})
	if err != nil {
		return nil, err
	}
	var own, named []netip.Prefix
	err = list(ctx, s.network, "subnets", "subnets", s.tag, func(sub subnet) {
		cidr, err := netip.ParsePrefix(sub.CIDR)
		name, tagged := names[sub.NetworkID]
		switch {
		case err != nil || !cidr.Addr().Is4() || !tagged || !slices.Contains(sub.Tags, s.tag):
		case cidr.Contains(s.own):
			own = append(own, cidr)
		case sub.Name == name:
			named = append(named, cidr)
		}
	})
	if err != nil {
		return nil, err
	}
	if found := append(own, named...); found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("%d networks have the tag %q, but none has an IPv4 subnet with the tag where this server is, or with the network's name", len(names), s.tag)
}
