package azure

import (
	"testing"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	controlPlaneSet = "constellation-scale-set-controlplanes-abc123"
	workerSet       = "constellation-scale-set-workers-abc123"
	otherZonesSet   = "constellation-scale-set-controlplanes-def456"
)

func machineIn(set, number, name string, role cloud.Role, address string) cloud.Instance {
	id := "azure://" + subscription + resources + "/Microsoft.Compute/virtualMachineScaleSets/" + set + "/virtualMachines/" + number
	return cloud.Instance{Name: name, ProviderID: id, Role: role, VPCIP: address}
}

func TestSelf(t *testing.T) {
	for _, release := range []cloud.Release{cloud.Release224, cloud.Release21} {
		client, p := start(t, release)
		self, err := client.Self(t.Context())
		require.NoError(t, err)
		assert.Equal(t, machineIn(controlPlaneSet, "0", controlPlaneSet+"000000", cloud.ControlPlane, "10.9.0.4"), self)
		assert.Equal(t, []string{readInstance}, p.Calls(), "no token is asked for")
	}
}

// TestNodes: three scale sets of the cluster, in two pages with two of others; one
// machine has no tags, one a role that is null, one neither name nor ID.
func TestNodes(t *testing.T) {
	roles := func(noTags, noRole cloud.Role) []cloud.Instance {
		return []cloud.Instance{
			machineIn(controlPlaneSet, "0", controlPlaneSet+"000000", cloud.ControlPlane, "10.9.0.4"),
			machineIn(controlPlaneSet, "1", controlPlaneSet+"000001", cloud.ControlPlane, "10.9.0.5"),
			machineIn(controlPlaneSet, "2", controlPlaneSet+"_2", cloud.ControlPlane, "10.9.0.6"),
			{ProviderID: "azure://", Role: noRole},
			machineIn(controlPlaneSet, "3", "no-role", noRole, ""),
			machineIn(workerSet, "0", workerSet+"000000", cloud.Worker, "10.9.0.7"),
			machineIn(workerSet, "1", workerSet+"000001", noTags, ""),
			machineIn(otherZonesSet, "7", otherZonesSet+"000007", cloud.ControlPlane, "10.9.0.8"),
		}
	}
	for release, want := range map[cloud.Release][]cloud.Instance{
		cloud.Release224: roles(cloud.Unknown, cloud.Unknown),     // by tag
		cloud.Release21:  roles(cloud.Worker, cloud.ControlPlane), // by the name of the scale set
	} {
		client, _ := start(t, release)
		nodes, err := client.Nodes(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, nodes)
	}
}

// TestCalls: two of the metadata service, and then two for each scale set, plus
// further pages.
func TestCalls(t *testing.T) {
	client, p := start(t, cloud.Release224)
	_, err := client.Nodes(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{
		readInstance, readToken, readScaleSets, readScaleSets,
		readMachines, readMachines, readInterfaces, readInterfaces,
		readMachines, readInterfaces, readMachines, readInterfaces,
	}, p.Calls())
}

func TestLoadBalancer(t *testing.T) {
	empty := fake.JSON(`{"value": []}`)
	for name, tc := range map[string]struct {
		release cloud.Release
		change  func(*fake.Platform)
		want    string
		wantErr string
	}{
		"public address":                {want: "20.71.5.6"},
		"v2.1 takes the first":          {release: cloud.Release21, want: "10.66.0.1"},
		"no public address, private":    {change: func(p *fake.Platform) { p.Say(readAddresses, fake.Status(403, "")) }, want: "10.9.0.100"},
		"public one without an address": {change: func(p *fake.Platform) { p.Say(readAddresses, fake.JSON(`{"properties": {}}`)) }, want: "10.9.0.100"},
		"public one without properties": {change: func(p *fake.Platform) { p.Say(readAddresses, fake.JSON(`{}`)) }, want: "10.9.0.100"},
		"none":                          {change: func(p *fake.Platform) { p.Say(readBalancers, empty) }, wantErr: "found 0 load balancers of the cluster, want one with an address"},
		"no list": {change: func(p *fake.Platform) {
			p.Say(readBalancers, fake.Status(403, `{"error": {"code": "AuthorizationFailed"}}`))
		}, wantErr: "listing load balancers: found status 403, want 200: AuthorizationFailed"},
		"reference to nowhere": {
			change: func(p *fake.Platform) {
				p.Say(readBalancers, fake.JSON(`{"value": [{"tags": {"constellation-uid": "abc123"}, "properties": {"frontendIPConfigurations": [{"properties": {"publicIPAddress": {"id": "x"}}}]}}]}`))
			},
			wantErr: "public address of a load balancer: invalid resource ID",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, p := start(t, tc.release)
			if tc.change != nil {
				tc.change(p)
			}
			host, err := client.LoadBalancer(t.Context())
			assert.Equal(t, tc.want, host)
			if tc.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.wantErr)
			}
		})
	}
}

// TestNewAsksNobody: a client costs nothing until it is used.
func TestNewAsksNobody(t *testing.T) {
	_, p := start(t, cloud.Release224)
	assert.Empty(t, p.Calls())
}
