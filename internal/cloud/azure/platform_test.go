package azure

import (
	"net/http"
	"strings"
	"testing"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
)

const (
	subscription = "/subscriptions/11111111-2222-3333-4444-555555555555"
	resources    = "/resourceGroups/constell-rg/providers"
	manager      = "GET management.azure.com" + subscription + resources

	readScaleSets  = "Microsoft.Compute/virtualMachineScaleSets/read"
	readMachines   = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read"
	readInterfaces = "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read"
	readBalancers  = "Microsoft.Network/loadBalancers/read"
	readAddresses  = "Microsoft.Network/publicIPAddresses/read"
	readInstance   = "instance metadata"
	readToken      = "managed identity"
)

// permitted are the permissions that the documentation asks for, and what every
// machine may ask of its metadata service. Any other call fails the test.
var permitted = fake.Routes{
	readScaleSets:  manager + "/Microsoft.Compute/virtualMachineScaleSets",
	readMachines:   manager + "/Microsoft.Compute/virtualMachineScaleSets/{set}/virtualMachines",
	readInterfaces: manager + "/microsoft.Compute/virtualMachineScaleSets/{set}/networkInterfaces",
	readBalancers:  manager + "/Microsoft.Network/loadBalancers",
	readAddresses:  manager + "/Microsoft.Network/publicIPAddresses/{name}",
	readInstance:   "GET 169.254.169.254/metadata/instance",
	readToken:      "GET 169.254.169.254/metadata/identity/oauth2/token",
}

// stems are the files of each scale set.
var stems = map[string]string{
	"constellation-scale-set-controlplanes-abc123": "controlplanes-1",
	"constellation-scale-set-workers-abc123":       "workers",
	"constellation-scale-set-controlplanes-def456": "other-zones",
}

func TestPermissionsAreDocumented(t *testing.T) {
	var permissions []string
	for permission := range permitted {
		if strings.Contains(permission, "/") { // the others are of the metadata server
			permissions = append(permissions, permission)
		}
	}
	fake.AssertDocumented(t, "azure", permissions...)
}

func start(t testing.TB, release cloud.Release) (*Client, *fake.Platform) {
	client := New(release)
	p := fake.Start(t, client.http, permitted)
	behave(t, p)
	return client, p
}

// behave makes all answers good.
func behave(t testing.TB, p *fake.Platform) {
	p.Say(readInstance, asMetadata(t, fake.File("instance.json")))
	p.Say(readToken, asMetadata(t, fake.File("token.json")))
	p.Say(readScaleSets, pages(t, "scalesets-1"))
	p.Say(readMachines, func(w http.ResponseWriter, r *http.Request) { pages(t, "machines-"+stems[r.PathValue("set")])(w, r) })
	p.Say(readInterfaces, func(w http.ResponseWriter, r *http.Request) { pages(t, "interfaces-"+stems[r.PathValue("set")])(w, r) })
	p.Say(readBalancers, pages(t, "balancers-1"))
	p.Say(readAddresses, fake.AsAPI(t, fake.File("public-ip.json")))
}

// pages answers with a file, and with the second one when the first has been asked
// where it goes on.
func pages(t testing.TB, first string) http.HandlerFunc {
	return fake.AsAPI(t, func(w http.ResponseWriter, r *http.Request) {
		name := first
		if r.URL.Query().Get("$skiptoken") == "2" {
			name = strings.TrimSuffix(first, "1") + "2"
		}
		fake.File(name+".json")(w, r)
	})
}

func asMetadata(t testing.TB, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		assert.True(t, strings.EqualFold(r.Header.Get("Metadata"), "true"))
		assert.Nil(t, r.TLS)
		assert.Empty(t, r.Header.Get("Authorization"), "tokens go to the API alone")
		answer(w, r)
	}
}

// BenchmarkRound is one Self and one Nodes of a cluster of three scale sets, of
// which two lists have two pages.
func BenchmarkRound(b *testing.B) {
	client, p := start(b, cloud.Release224)
	fake.Rounds(b, p.Script, func() cloud.Metadata { return client })
}
