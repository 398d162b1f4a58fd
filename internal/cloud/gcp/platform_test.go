package gcp

import (
	"net/http"
	"strings"
	"testing"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
)

const (
	api    = "GET compute.googleapis.com/compute/v1/projects/constell-project"
	server = "GET 169.254.169.254/computeMetadata/v1"

	getInstance   = "compute.instances.get"
	listInstances = "compute.instances.list"
	listGlobal    = "compute.globalForwardingRules.list"
	listRegional  = "compute.forwardingRules.list"
	readProject   = "project"
	readZone      = "zone"
	readName      = "name"
	readToken     = "service account"
)

// permitted are the permissions that the documentation asks for, and what every
// machine may ask of its metadata server. Any other call fails the test.
var permitted = fake.Routes{
	getInstance:   api + "/zones/europe-west12-a/instances/constell-control-plane-0",
	listInstances: api + "/aggregated/instances",
	listGlobal:    api + "/global/forwardingRules",
	listRegional:  api + "/regions/europe-west12/forwardingRules",
	readProject:   server + "/project/project-id",
	readZone:      server + "/instance/zone",
	readName:      server + "/instance/name",
	readToken:     server + "/instance/service-accounts/default/token",
}

func TestPermissionsAreDocumented(t *testing.T) {
	var permissions []string
	for permission := range permitted {
		if strings.Contains(permission, ".") { // the others are of the metadata server
			permissions = append(permissions, permission)
		}
	}
	fake.AssertDocumented(t, "gcp", permissions...)
}

func start(t testing.TB, release cloud.Release) (*Client, *fake.Platform) {
	client := New(release)
	p := fake.Start(t, client.http, permitted)
	behave(t, p)
	return client, p
}

// behave makes all answers good.
func behave(t testing.TB, p *fake.Platform) {
	p.Say(readProject, asMetadata(t, fake.Text("constell-project")))
	p.Say(readZone, asMetadata(t, fake.Text("projects/123456789012/zones/europe-west12-a")))
	p.Say(readName, asMetadata(t, fake.Text("constell-control-plane-0\n")))
	p.Say(readToken, asMetadata(t, fake.File("token.json")))
	p.Say(getInstance, fake.AsAPI(t, fake.File("instance.json")))
	p.Say(listInstances, pagesOf(t, "instances"))
	p.Say(listGlobal, pagesOf(t, "rules"))
	p.Say(listRegional, fake.AsAPI(t, fake.File("rules-regional.json")))
}

// pagesOf answers with the first of two files, and with the second when it is asked
// where the first goes on.
func pagesOf(t testing.TB, name string) http.HandlerFunc {
	return fake.AsAPI(t, func(w http.ResponseWriter, r *http.Request) {
		page := "-1.json"
		if r.URL.Query().Get("pageToken") == "2" {
			page = "-2.json"
		}
		fake.File(name+page)(w, r)
	})
}

func asMetadata(t testing.TB, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "Google", r.Header.Get("Metadata-Flavor"))
		assert.Nil(t, r.TLS)
		assert.Empty(t, r.Header.Get("Authorization"), "tokens go to the API alone")
		w.Header().Set("Metadata-Flavor", "Google")
		answer(w, r)
	}
}

// BenchmarkRound is one Self and one Nodes of a cluster whose list has two pages.
func BenchmarkRound(b *testing.B) {
	client, p := start(b, cloud.Release224)
	fake.Rounds(b, p.Script, func() cloud.Metadata { return client })
}
