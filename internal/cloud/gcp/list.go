package gcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/printable"

	"google.golang.org/api/compute/v1"
	"google.golang.org/api/googleapi"
)

// What is read of an instance. All of it, metadata above all, would be more than
// one answer may be.
const (
	instanceFields = "name,zone,labels,metadata/items(key,value),networkInterfaces(name,networkIP)"
	// pageSize keeps a page of instances with long metadata short enough.
	pageSize = 100
)

// partial asks for what there is although a zone fails. The SDK has no method for it.
var partial = googleapi.QueryParameter("returnPartialSuccess", "true")

func (p project) own(ctx context.Context) (*compute.Instance, error) {
	own, err := p.service.Instances.Get(p.name, p.zone, p.instance).Fields(instanceFields).Context(ctx).Do()
	if err != nil {
		return nil, fmt.Errorf("asking for this instance: %w", short(err))
	}
	return own, nil
}

// nodes come from one list over all zones, in place of one for each zone of the
// region. A zone that does not answer is said and does not take the others with it.
func (p project) nodes(ctx context.Context, uid string) ([]cloud.Instance, error) {
	list := p.service.Instances.AggregatedList(p.name).MaxResults(pageSize).Context(ctx).
		Fields("items/*/instances("+instanceFields+")", "nextPageToken", "unreachables")
	if p.marks.filter != "" {
		list.Filter(p.marks.filter + uid)
	}
	var nodes []cloud.Instance
	var silent []string
	err := pages(func(token string) (string, error) {
		page, err := list.PageToken(token).Do(partial)
		if err != nil {
			return "", short(err)
		}
		for _, zone := range slices.Sorted(maps.Keys(page.Items)) {
			nodes = append(nodes, p.members(page.Items[zone].Instances, uid)...)
		}
		silent = append(silent, page.Unreachables...)
		return page.NextPageToken, nil
	})
	if len(silent) > 0 {
		err = errors.Join(err, fmt.Errorf("%d zones do not answer, the first is %s", len(silent), printable.Quote(silent[0])))
	}
	if err != nil {
		return nodes, fmt.Errorf("listing instances: %w", err)
	}
	return nodes, nil
}

// members are those of the cluster.
func (p project) members(instances []*compute.Instance, uid string) []cloud.Instance {
	var members []cloud.Instance
	for _, i := range instances {
		if i != nil && p.marks.of(i)[cloud.UIDTag] == uid {
			members = append(members, p.node(i))
		}
	}
	return members
}

// pages asks for one after the other, each with the token of the one before.
func pages(ask func(token string) (next string, err error)) (err error) {
	token := ""
	for range cloud.MaxPages {
		if token, err = ask(token); err != nil || token == "" {
			return err
		}
	}
	return fmt.Errorf("the list has more than %d pages", cloud.MaxPages)
}

func (p project) globalBalancer(ctx context.Context, uid string) (string, error) {
	list := p.service.GlobalForwardingRules.List(p.name)
	return p.balancer("global forwarding rules", uid, func(token string) (*compute.ForwardingRuleList, error) {
		return list.Filter(p.ruleFilter(uid)).Fields(ruleFields...).PageToken(token).Context(ctx).Do()
	})
}

func (p project) regionalBalancer(ctx context.Context, uid string) (string, error) {
	list := p.service.ForwardingRules.List(p.name, p.region())
	return p.balancer("forwarding rules of "+p.region(), uid, func(token string) (*compute.ForwardingRuleList, error) {
		return list.Filter(p.ruleFilter(uid)).Fields(ruleFields...).PageToken(token).Context(ctx).Do()
	})
}

var ruleFields = []googleapi.Field{"items(IPAddress,labels)", "nextPageToken"}

func (p project) ruleFilter(uid string) string {
	if p.marks.use == "" {
		return byUID + uid
	}
	return fmt.Sprintf("(%s%s) AND (labels.%s:%s)", byUID, uid, useLabel, p.marks.use)
}

// balancer is the address of the first rule of the cluster that has one.
func (p project) balancer(what, uid string, ask func(token string) (*compute.ForwardingRuleList, error)) (address string, err error) {
	err = pages(func(token string) (string, error) {
		page, err := ask(token)
		if err != nil {
			return "", short(err)
		}
		for _, rule := range page.Items {
			if rule != nil && rule.Labels[cloud.UIDTag] == uid && (p.marks.use == "" || rule.Labels[useLabel] == p.marks.use) && rule.IPAddress != "" {
				address = rule.IPAddress
				return "", nil
			}
		}
		return page.NextPageToken, nil
	})
	if err != nil {
		return address, fmt.Errorf("listing %s: %w", what, err)
	}
	return address, nil
}
