package azure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/printable"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
)

// scaleSets are the names of those of the cluster.
func (g group) scaleSets(ctx context.Context) ([]string, error) {
	client, err := armcompute.NewVirtualMachineScaleSetsClient(g.subscription, g.credential, g.options)
	if err != nil {
		return nil, fmt.Errorf("preparing to list scale sets: %w", err)
	}
	found, err := all(ctx, client.NewListPager(g.name, nil), func(page armcompute.VirtualMachineScaleSetsClientListResponse) []*armcompute.VirtualMachineScaleSet {
		return page.Value
	})
	if err != nil {
		err = fmt.Errorf("listing scale sets: %w", err)
	}
	var names []string
	for _, s := range found {
		if name := value(s.Name); name != "" && value(s.Tags[g.marks.uid]) == g.uid {
			names = append(names, name)
		}
	}
	return names, err
}

// members are the virtual machines of a scale set. A machine whose address is not
// found has none.
func (g group) members(ctx context.Context, scaleSet string) ([]cloud.Instance, error) {
	machines, err := g.machines(ctx, scaleSet)
	if len(machines) == 0 {
		return nil, err
	}
	addresses, addressErr := g.addresses(ctx, scaleSet)
	var members []cloud.Instance
	for _, m := range machines {
		member := cloud.Instance{
			Name:       value(m.Name),
			ProviderID: providerID(value(m.ID)),
			Role:       g.marks.role(scaleSet, values(m.Tags)),
			VPCIP:      addresses[strings.ToLower(value(m.ID))],
		}
		if m.Properties != nil && m.Properties.OSProfile != nil && m.Properties.OSProfile.ComputerName != nil {
			member.Name = *m.Properties.OSProfile.ComputerName
		}
		members = append(members, member)
	}
	return members, errors.Join(err, addressErr)
}

func (g group) machines(ctx context.Context, scaleSet string) ([]armcompute.VirtualMachineScaleSetVM, error) {
	client, err := armcompute.NewVirtualMachineScaleSetVMsClient(g.subscription, g.credential, g.options)
	if err != nil {
		return nil, fmt.Errorf("preparing to list machines: %w", err)
	}
	found, err := all(ctx, client.NewListPager(g.name, scaleSet, nil), func(page armcompute.VirtualMachineScaleSetVMsClientListResponse) []*armcompute.VirtualMachineScaleSetVM {
		return page.Value
	})
	if err != nil {
		err = fmt.Errorf("listing machines of scale set %s: %w", printable.Quote(scaleSet), err)
	}
	return found, err
}

// addresses are the primary addresses of the machines of a scale set, by the
// machine's ID in lower case: the two APIs do not agree on the case. One list of
// all interfaces takes the place of one call for each.
func (g group) addresses(ctx context.Context, scaleSet string) (map[string]string, error) {
	client, err := armnetwork.NewInterfacesClient(g.subscription, g.credential, g.options)
	if err != nil {
		return nil, fmt.Errorf("preparing to list interfaces: %w", err)
	}
	found, err := all(ctx, client.NewListVirtualMachineScaleSetNetworkInterfacesPager(g.name, scaleSet, nil), func(page armnetwork.InterfacesClientListVirtualMachineScaleSetNetworkInterfacesResponse) []*armnetwork.Interface {
		return page.Value
	})
	if err != nil {
		err = fmt.Errorf("listing interfaces of scale set %s: %w", printable.Quote(scaleSet), err)
	}
	addresses := map[string]string{}
	for _, i := range found {
		if i.Properties == nil || i.Properties.VirtualMachine == nil {
			continue
		}
		machine := strings.ToLower(value(i.Properties.VirtualMachine.ID))
		address := primaryAddress(i.Properties.IPConfigurations)
		if address != "" && (addresses[machine] == "" || value(i.Properties.Primary)) {
			addresses[machine] = address
		}
	}
	return addresses, err
}

func primaryAddress(configurations []*armnetwork.InterfaceIPConfiguration) string {
	for _, c := range configurations {
		if c != nil && c.Properties != nil && value(c.Properties.Primary) && value(c.Properties.PrivateIPAddress) != "" {
			return *c.Properties.PrivateIPAddress
		}
	}
	return ""
}
