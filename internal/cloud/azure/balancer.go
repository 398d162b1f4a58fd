package azure

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

	"disk-mapper/internal/printable"
)

// frontend is one way into a load balancer.
type frontend = *armnetwork.FrontendIPConfigurationPropertiesFormat

// balancers are the load balancers of the cluster, each with its frontends.
func (g group) balancers(ctx context.Context) ([][]frontend, error) {
	client, err := armnetwork.NewLoadBalancersClient(g.subscription, g.credential, g.options)
	if err != nil {
		return nil, fmt.Errorf("preparing to list load balancers: %w", err)
	}
	found, err := all(ctx, client.NewListPager(g.name, nil), func(page armnetwork.LoadBalancersClientListResponse) []*armnetwork.LoadBalancer {
		return page.Value
	})
	if err != nil {
		err = fmt.Errorf("listing load balancers: %w", err)
	}
	var balancers [][]frontend
	for _, b := range found {
		if g.marks.balancerUID == "" || value(b.Tags[g.marks.balancerUID]) == g.uid {
			balancers = append(balancers, frontends(b))
		}
	}
	return balancers, err
}

func frontends(b armnetwork.LoadBalancer) (all []frontend) {
	if b.Properties == nil {
		return nil
	}
	for _, c := range b.Properties.FrontendIPConfigurations {
		if c != nil && c.Properties != nil {
			all = append(all, c.Properties)
		}
	}
	return all
}

// address is the public address of a load balancer, or else its private one. An
// error says why it is not the public one.
func (g group) address(ctx context.Context, balancer []frontend) (string, error) {
	var fault error
	for _, f := range balancer {
		if f.PublicIPAddress == nil {
			continue
		}
		var address string
		if address, fault = g.publicAddress(ctx, value(f.PublicIPAddress.ID)); address != "" {
			return address, nil
		}
	}
	for _, f := range balancer {
		if address := value(f.PrivateIPAddress); address != "" {
			return address, fault
		}
	}
	return "", fault
}

func (g group) publicAddress(ctx context.Context, id string) (string, error) {
	parsed, err := arm.ParseResourceID(id)
	if err != nil {
		return "", fmt.Errorf("public address of a load balancer: %w", err)
	}
	client, err := armnetwork.NewPublicIPAddressesClient(g.subscription, g.credential, g.options)
	if err != nil {
		return "", fmt.Errorf("preparing to ask for a public address: %w", err)
	}
	found, err := client.Get(ctx, parsed.ResourceGroupName, parsed.Name, nil)
	if err != nil {
		return "", fmt.Errorf("asking for public address %s: %w", printable.Quote(parsed.Name), short(err))
	}
	if found.Properties == nil || value(found.Properties.IPAddress) == "" {
		return "", fmt.Errorf("public address %s has no address yet", printable.Quote(parsed.Name))
	}
	return *found.Properties.IPAddress, nil
}
