package azure

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func askSelf(ctx context.Context, c *Client) error     { _, err := c.Self(ctx); return err }
func askNodes(ctx context.Context, c *Client) error    { _, err := c.Nodes(ctx); return err }
func askBalancer(ctx context.Context, c *Client) error { _, err := c.LoadBalancer(ctx); return err }

// places are where something can go wrong, with a call that comes by.
var places = map[string]func(context.Context, *Client) error{
	readInstance: askSelf, readToken: askNodes, readScaleSets: askNodes, readMachines: askNodes, readInterfaces: askNodes, readBalancers: askBalancer,
}

func TestHostilePlatform(t *testing.T) {
	fake.Besiege(t, places, func(t *testing.T, place string) fake.Trial {
		client, p := start(t, cloud.Release224)
		return fake.Trial{
			Client: client.http, Platform: p, Place: place,
			Ask:  func() error { return places[place](t.Context(), client) },
			Heal: func() { behave(t, p) },
		}
	})
}

// TestOneScaleSetFails: what is wrong with one is said, and the others are there.
func TestOneScaleSetFails(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readMachines, func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("set") == controlPlaneSet {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		pages(t, "machines-"+stems[r.PathValue("set")])(w, r)
	})
	endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	require.ErrorContains(t, err, `listing machines of scale set "`+controlPlaneSet+`": found status 403`)
	assert.Equal(t, []string{"10.9.0.8:30090"}, endpoints)
}

// TestSecondPageFails: the first is used.
func TestSecondPageFails(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readScaleSets, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("$skiptoken") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		pages(t, "scalesets-1")(w, r)
	})
	nodes, err := client.Nodes(t.Context())
	require.ErrorContains(t, err, "listing scale sets: found status 500")
	assert.Len(t, nodes, 5)
}

// TestPagesWithoutEnd: a list that goes on at itself is left after a number of pages.
func TestPagesWithoutEnd(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readScaleSets, func(w http.ResponseWriter, r *http.Request) {
		fake.JSON(fmt.Sprintf(`{"value": [], "nextLink": "https://%s%s"}`, r.Host, r.URL))(w, r)
	})
	_, err := client.Nodes(t.Context())
	require.ErrorContains(t, err, "listing scale sets: the list has more than 16 pages")
	assert.Len(t, p.Calls(), 2+cloud.MaxPages)
}

// TestThrottling: the platform is asked once more, if it says soon.
func TestThrottling(t *testing.T) {
	for after, want := range map[string]int{"1": 2, "4": 1, "3600": 1, "nonsense": 2} {
		client, p := start(t, cloud.Release224)
		p.Say(readScaleSets, fake.Throttle(after))
		p.Calls()
		_, err := client.Nodes(t.Context())
		require.ErrorContains(t, err, "status 429")
		assert.Len(t, p.Calls(), 2+want, "Retry-After: %s", after)
	}
}

// TestNothingIsRegistered: the SDK would make up for a resource provider that the
// subscription has not registered, by a call that nobody permitted.
func TestNothingIsRegistered(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readScaleSets, fake.Status(http.StatusConflict, `{"error": {"code": "MissingSubscriptionRegistration", "message": "The subscription is not registered to use namespace 'Microsoft.Compute'"}}`))
	_, err := client.Nodes(t.Context())
	require.ErrorContains(t, err, "status 409, want 200: MissingSubscriptionRegistration")
}

// TestM9TokenIsNotKept: a token that the API refuses is good for a day by its own
// word, and is asked for anew nevertheless.
func TestM9TokenIsNotKept(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readToken, fake.JSON(`{"access_token": "bad", "expires_in": "86400", "token_type": "Bearer", "resource": "https://management.core.windows.net/"}`))
	p.Say(readScaleSets, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer bad" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		pages(t, "scalesets-1")(w, r)
	})
	_, err := client.Nodes(t.Context())
	require.ErrorContains(t, err, "status 401")
	assert.NotContains(t, err.Error(), "bad")
	p.Say(readToken, fake.File("token.json"))
	_, err = client.Nodes(t.Context())
	require.NoError(t, err)
}

// TestM3EveryCallEnds: whatever is asked has to end with SDKTimeout.
func TestM3EveryCallEnds(t *testing.T) {
	for place, ask := range places {
		t.Run(place, func(t *testing.T) {
			client, _ := start(t, cloud.Release224)
			fake.AssertEveryCallEnds(t, client.http, func() error { return ask(t.Context(), client) })
		})
	}
}

// TestUnknownCluster: a node without the tag knows no other, but itself.
func TestUnknownCluster(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readInstance, fake.JSON(`{"compute": {"name": "x", "resourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/a/virtualMachines/0"}}`))
	self, err := client.Self(t.Context())
	require.NoError(t, err)
	assert.Equal(t, cloud.Instance{Name: "x", ProviderID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/a/virtualMachines/0"}, self)
	for _, ask := range []func(context.Context, *Client) error{askNodes, askBalancer} {
		require.ErrorContains(t, ask(t.Context(), client), `this node has no tag "constellation-uid"`)
	}
}
