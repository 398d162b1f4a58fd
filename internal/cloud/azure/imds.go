package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"disk-mapper/internal/cloud"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
)

// The SDK has no client of the metadata service.
const imds = cloud.MetadataURL + "/metadata/instance?api-version=2021-02-01&format=json"

const machineType = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"

// machine is this node.
type machine struct {
	id      *arm.ResourceID
	name    string
	tags    map[string]string
	address string
}

func (m machine) scaleSet() string { return m.id.Parent.Name }

// uid is the value of tag, which names this node's cluster.
func (m machine) uid(tag string) (string, error) {
	if m.tags[tag] == "" {
		return "", fmt.Errorf("this node has no tag %q, so its cluster is not known", tag)
	}
	return m.tags[tag], nil
}

func (c *Client) own(ctx context.Context) (machine, error) {
	own, err := c.askIMDS(ctx)
	if err != nil {
		return machine{}, fmt.Errorf("asking the instance metadata service: %w", short(err))
	}
	return own, nil
}

func (c *Client) askIMDS(ctx context.Context) (machine, error) {
	raw, status, err := cloud.Get(ctx, c.http, imds, "Metadata", "True")
	if err != nil {
		return machine{}, err
	}
	if status != http.StatusOK {
		return machine{}, fmt.Errorf("found status %d, want 200", status)
	}
	return parseMachine(raw)
}

// document is what we read of an answer, version 2021-02-01.
type document struct {
	Compute struct {
		ResourceID string
		Name       string
		OSProfile  struct{ ComputerName string }
		TagsList   []struct{ Name, Value string }
	}
	Network struct {
		Interface []struct {
			IPv4 struct {
				IPAddress []struct{ PrivateIPAddress string }
			}
		}
	}
}

func parseMachine(raw []byte) (machine, error) {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return machine{}, err
	}
	id, err := arm.ParseResourceID(d.Compute.ResourceID)
	if err != nil {
		return machine{}, err
	}
	if id.SubscriptionID == "" || id.ResourceGroupName == "" || !strings.EqualFold(id.ResourceType.String(), machineType) {
		return machine{}, fmt.Errorf("found resource ID %q, want that of a machine in a scale set", d.Compute.ResourceID)
	}
	m := machine{id: id, name: d.Compute.OSProfile.ComputerName, tags: map[string]string{}, address: d.address()}
	if m.name == "" {
		m.name = d.Compute.Name
	}
	for _, tag := range d.Compute.TagsList {
		m.tags[tag.Name] = tag.Value
	}
	return m, nil
}

// address is the first one. A node of a cluster has one interface with one
// address; of several, the service does not say which is the primary.
func (d document) address() string {
	for _, i := range d.Network.Interface {
		for _, a := range i.IPv4.IPAddress {
			return a.PrivateIPAddress
		}
	}
	return ""
}
