package gcp

import (
	"net/http"
	"sync/atomic"
	"testing"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func node(zone, name string, role cloud.Role, address string) cloud.Instance {
	return cloud.Instance{Name: name, ProviderID: "gce://constell-project/" + zone + "/" + name, Role: role, VPCIP: address}
}

func TestSelf(t *testing.T) {
	for _, release := range []cloud.Release{cloud.Release224, cloud.Release21} {
		client, p := start(t, release)
		self, err := client.Self(t.Context())
		require.NoError(t, err)
		assert.Equal(t, node("europe-west12-a", "constell-control-plane-0", cloud.ControlPlane, "10.9.0.4"), self)
		assert.Equal(t, []string{readProject, readZone, readName, readToken, getInstance}, p.Calls())
	}
}

// TestNodes: three zones in two pages, with instances of another cluster whose uid
// contains ours, without labels, and without a role.
func TestNodes(t *testing.T) {
	want := []cloud.Instance{
		node("europe-west12-a", "constell-control-plane-0", cloud.ControlPlane, "10.9.0.4"),
		node("europe-west12-b", "constell-worker-0", cloud.Worker, "10.9.0.7"),
		node("europe-west12-c", "constell-control-plane-1", cloud.ControlPlane, "10.9.0.5"),
		node("europe-west12-c", "constell-no-role", cloud.Unknown, ""),
	}
	for release, filter := range map[cloud.Release]string{cloud.Release224: "labels.constellation-uid:abc123", cloud.Release21: ""} {
		client, p := start(t, release)
		good := pagesOf(t, "instances")
		p.Say(listInstances, func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, filter, r.URL.Query().Get("filter"))
			assert.Equal(t, "true", r.URL.Query().Get("returnPartialSuccess"))
			good(w, r)
		})
		nodes, err := client.Nodes(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, nodes)
		assert.Equal(t, []string{readProject, readZone, readName, readToken, getInstance, listInstances, listInstances}, p.Calls())
	}
}

func TestLoadBalancer(t *testing.T) {
	none := fake.JSON(`{}`)
	forbidden := fake.Status(403, `{"error": {"code": 403, "message": "Required permission is missing"}}`)
	for name, tc := range map[string]struct {
		release          cloud.Release
		global, regional http.HandlerFunc
		want             string
		wantErr          string
	}{
		"global":                       {want: "34.1.2.3"},
		"v2.1 has no label for a use":  {release: cloud.Release21, want: "34.1.2.9"},
		"regional":                     {global: none, want: "10.9.0.100"},
		"regional if global fails":     {global: forbidden, want: "10.9.0.100"},
		"none":                         {global: none, regional: none, wantErr: "found no forwarding rule of the cluster, want one with an address"},
		"both fail":                    {global: forbidden, regional: forbidden, wantErr: "listing global forwarding rules: found status 403, want 200: Required permission is missing\\nlisting forwarding rules of europe-west12: found status 403"},
		"of another cluster":           {global: fake.JSON(`{"items": [{"IPAddress": "1.2.3.4", "labels": {"constellation-uid": "abc1234", "constellation-use": "kubernetes"}}]}`), regional: none, wantErr: "found no forwarding rule"},
		"for another use":              {global: fake.JSON(`{"items": [{"IPAddress": "1.2.3.4", "labels": {"constellation-uid": "abc123", "constellation-use": "other"}}]}`), regional: none, wantErr: "found no forwarding rule"},
		"without an address or labels": {global: fake.JSON(`{"items": [{}, null, {"labels": {"constellation-uid": "abc123", "constellation-use": "kubernetes"}}]}`), regional: none, wantErr: "found no forwarding rule"},
	} {
		t.Run(name, func(t *testing.T) {
			client, p := start(t, tc.release)
			if tc.global != nil {
				p.Say(listGlobal, tc.global)
			}
			if tc.regional != nil {
				p.Say(listRegional, tc.regional)
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

// TestBalancerFilter: the platform sorts out what it can.
func TestBalancerFilter(t *testing.T) {
	for release, want := range map[cloud.Release]string{
		cloud.Release224: "(labels.constellation-uid:abc123) AND (labels.constellation-use:kubernetes)",
		cloud.Release21:  "labels.constellation-uid:abc123",
	} {
		client, p := start(t, release)
		var asked atomic.Value
		p.Say(listGlobal, func(w http.ResponseWriter, r *http.Request) {
			asked.Store(r.URL.Query().Get("filter"))
			fake.JSON(`{}`)(w, r)
		})
		_, err := client.LoadBalancer(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, asked.Load())
	}
}

func TestRegion(t *testing.T) {
	for zone, want := range map[string]string{"europe-west12-a": "europe-west12", "us-central1-f": "us-central1", "zone": "zone", "": ""} {
		assert.Equal(t, want, project{zone: zone}.region())
	}
}

// TestNewAsksNobody: a client costs nothing until it is used.
func TestNewAsksNobody(t *testing.T) {
	_, p := start(t, cloud.Release224)
	assert.Empty(t, p.Calls())
}
