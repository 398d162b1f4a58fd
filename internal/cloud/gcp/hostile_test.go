package gcp

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"
	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func askSelf(ctx context.Context, c *Client) error     { _, err := c.Self(ctx); return err }
func askNodes(ctx context.Context, c *Client) error    { _, err := c.Nodes(ctx); return err }
func askBalancer(ctx context.Context, c *Client) error { _, err := c.LoadBalancer(ctx); return err }

// places are where something can go wrong, with a call that comes by.
var places = map[string]func(context.Context, *Client) error{
	readProject: askSelf, readZone: askNodes, readName: askSelf, readToken: askNodes, getInstance: askSelf,
	listInstances: askNodes, listRegional: askBalancer,
}

func TestHostilePlatform(t *testing.T) {
	fake.Besiege(t, places, func(t *testing.T, place string) fake.Trial {
		client, p := start(t, cloud.Release224)
		p.Say(listGlobal, fake.JSON(`{}`)) // or nobody asks for those of the region
		return fake.Trial{
			Client: client.http, Platform: p, Place: place,
			Ask:  func() error { return places[place](t.Context(), client) },
			Want: "found .*, want a name",
			Heal: func() { behave(t, p) },
		}
	})
}

// TestSecondPageFails: the first is used.
func TestSecondPageFails(t *testing.T) {
	client, p := start(t, cloud.Release224)
	first := pagesOf(t, "instances")
	p.Say(listInstances, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("pageToken") && r.URL.Query().Get("pageToken") != "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		first(w, r)
	})
	nodes, err := client.Nodes(t.Context())
	require.ErrorContains(t, err, "listing instances: found status 403")
	assert.Len(t, nodes, 2)
}

// TestZonesThatDoNotAnswer: the others are used, and it is said.
func TestZonesThatDoNotAnswer(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(listInstances, fake.JSON(`{
		"items": {"zones/europe-west12-b": {"instances": [{
			"name": "b", "labels": {"constellation-uid": "abc123", "constellation-role": "control-plane"}, "networkInterfaces": [{"name": "nic0", "networkIP": "10.9.0.9"}]
		}]}},
		"unreachables": ["zones/europe-west12-c", "zones/europe-west12-a"]
	}`))
	endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	require.ErrorContains(t, err, `2 zones do not answer, the first is "zones/europe-west12-c"`)
	assert.Equal(t, []string{"10.9.0.9:30090"}, endpoints)
}

// TestPagesWithoutEnd: a list that goes on for ever is left after a number of pages.
func TestPagesWithoutEnd(t *testing.T) {
	for place, ask := range map[string]func(context.Context, *Client) error{listInstances: askNodes, listRegional: askBalancer} {
		client, p := start(t, cloud.Release224)
		p.Say(listGlobal, fake.JSON(`{}`))
		p.Say(place, fake.JSON(`{"nextPageToken": "again"}`))
		require.ErrorContains(t, ask(t.Context(), client), "the list has more than 16 pages")
		asked := 0
		for _, call := range p.Calls() {
			if call == place {
				asked++
			}
		}
		assert.Equal(t, cloud.MaxPages, asked)
	}
}

// TestThrottling: the API is asked once, and again in the next round; the metadata
// server a few times in the round, whatever it says.
func TestThrottling(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(listInstances, fake.Throttle("1"))
	require.ErrorContains(t, askNodes(t.Context(), client), "status 429")
	assert.Len(t, p.Calls(), 5+1)

	p.Say(readProject, fake.Throttle("3600"))
	require.ErrorContains(t, askNodes(t.Context(), client), "status 429")
	assert.Len(t, p.Calls(), 1+5)
}

// TestM9TokenIsNotKept: a token that the API refuses is good for a day by its own
// word, and is asked for anew nevertheless.
func TestM9TokenIsNotKept(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readToken, fake.JSON(`{"access_token": "bad", "expires_in": 86400, "token_type": "Bearer"}`))
	p.Say(getInstance, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer bad" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fake.File("instance.json")(w, r)
	})
	err := askSelf(t.Context(), client)
	require.ErrorContains(t, err, "status 401")
	assert.NotContains(t, err.Error(), "bad")
	p.Say(readToken, fake.File("token.json"))
	require.NoError(t, askSelf(t.Context(), client))
}

// TestM9ProjectIsNotKept: what the SDK would keep for the life of the process.
func TestM9ProjectIsNotKept(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readProject, fake.Text("<html>"))
	require.ErrorContains(t, askSelf(t.Context(), client), `reading project/project-id: found "<html>", want a name`)
	behave(t, p)
	require.NoError(t, askSelf(t.Context(), client))
}

// TestNoToken: nobody asks the API without one.
func TestNoToken(t *testing.T) {
	client, p := start(t, cloud.Release224)
	p.Say(readToken, fake.JSON(`{}`))
	require.ErrorContains(t, askSelf(t.Context(), client), "found no access_token")
	assert.NotContains(t, p.Calls(), getInstance)
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

// TestUnknownCluster: a node without marks knows no other, but itself.
func TestUnknownCluster(t *testing.T) {
	for _, release := range []cloud.Release{cloud.Release224, cloud.Release21} {
		client, p := start(t, release)
		p.Say(getInstance, fake.JSON(`{"name": "x", "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/z"}`))
		self, err := client.Self(t.Context())
		require.NoError(t, err)
		assert.Equal(t, cloud.Instance{Name: "x", ProviderID: "gce://constell-project/z/x"}, self)
		for _, ask := range []func(context.Context, *Client) error{askNodes, askBalancer} {
			require.ErrorContains(t, ask(t.Context(), client), "this node is not marked with constellation-uid")
		}
	}
}

func TestParseName(t *testing.T) {
	for answer, want := range map[string]string{
		"constell-project": "constell-project", "example.com:project\n": "example.com:project",
		"projects/1234/zones/europe-west12-a": "europe-west12-a",
		"":                                    "", "projects/1234/zones/": "", "a b": "", "<html>": "", "a\nb": "", "UPPER": "", "..": "", "%2e": "",
	} {
		got, err := parseName(answer)
		assert.Equal(t, want, got)
		assert.Equal(t, want == "", err != nil, "%q", answer)
	}
}

// FuzzParseName: what is accepted is one part of a path, and says the same again.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"constell-project", "projects/1234/zones/europe-west12-a", "a/../b", "\x00", "example.com:x\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		got, err := parseName(answer)
		if err != nil {
			assert.Less(t, len(fmt.Sprint(err)), printable.MaxError+100)
			return
		}
		again, err := parseName(got)
		require.NoError(t, err)
		assert.Equal(t, got, again)
		assert.NotContains(t, project{zone: got}.region(), "/")
	})
}
