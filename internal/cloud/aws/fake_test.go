package aws

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
)

// The calls that the node makes of its platform: these of the metadata service,
// and of the APIs those that platforms.md grants to the node's role.
const (
	token       = "PUT /latest/api/token"
	document    = "GET /latest/dynamic/instance-identity/document"
	role        = "GET /latest/meta-data/iam/security-credentials/"
	credentials = "GET /latest/meta-data/iam/security-credentials/node"
	describe    = "ec2:DescribeInstances"
	list        = describe + " with filters"
	resources   = "tag:GetResources"
	balancers   = "elasticloadbalancing:DescribeLoadBalancers"
)

func TestPermissionsAreDocumented(t *testing.T) {
	fake.AssertDocumented(t, "aws", describe, resources, balancers)
}

var round = []string{token, document, role, credentials, describe, list}

// platform is the metadata service and the APIs of AWS, in one server. It keeps a
// call that it does not know for a fault of the test.
type platform struct {
	testing.TB
	*fake.Script
	URL string
}

// start returns a platform that answers as AWS would, and a client of it.
func start(t testing.TB) (*platform, *Client) {
	p := newPlatform(t)
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	p.URL = server.URL
	return p, newClient(server.URL)
}

func newPlatform(t testing.TB) *platform {
	return &platform{TB: t, Script: fake.NewScript(map[string]http.HandlerFunc{
		token: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
			_, _ = fmt.Fprint(w, "a-token")
		},
		document: recorded("identity.json"), role: fake.Text("node"), credentials: recorded("credentials.json"),
		describe: recorded("self.xml"), list: pages("NextToken", "page1.xml", "page2.xml"),
		resources: pages("PaginationToken", "resources1.json", "resources2.json"), balancers: recorded("balancers.xml"),
	})}
}

// newClient does not wait between its tries.
func newClient(url string) *Client {
	client := New()
	client.metadataURL, client.apiURL, client.maxBackoff = url, &url, time.Millisecond
	return client
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // an unread one keeps the server from seeing that the client has left
	if err != nil {
		return // it has left
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	call, refused := r.Method+" "+r.URL.Path, ""
	if r.URL.Path == "/" {
		call = p.action(r)
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=ASIAEXAMPLEEXAMPLE00/") || r.Header.Get("X-Amz-Security-Token") == "" {
			refused = "not signed by the role of the instance"
		}
	} else if call != token && r.Header.Get("X-Aws-Ec2-Metadata-Token") != "a-token" {
		refused = "no token"
	}
	answer := p.Take(call)
	if answer == nil && strings.HasPrefix(call, role) { // what the role is called is for the platform to say
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if answer == nil || refused != "" {
		p.Errorf("call that the platform does not permit: %s %s", call, refused)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	answer(w, r)
}

// action is the call of an API, in the words of a policy.
func (p *platform) action(r *http.Request) string {
	if target, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "ResourceGroupsTaggingAPI_20170126."); ok {
		return "tag:" + target
	}
	assert.NoError(p, r.ParseForm())
	action := map[string]string{"2016-11-15": "ec2:", "2015-12-01": "elasticloadbalancing:"}[r.Form.Get("Version")] + r.Form.Get("Action")
	if action == describe && r.Form.Has("Filter.1.Name") {
		assert.Equal(p, "tag:constellation-uid cafe0123", r.Form.Get("Filter.1.Name")+" "+r.Form.Get("Filter.1.Value.1"))
		return list
	}
	return action
}

func recorded(name string) http.HandlerFunc { return fake.Text(fake.Read(name)) }

func edited(t *testing.T, name string, replace ...string) http.HandlerFunc {
	return fake.Text(fake.Edited(t, name, replace...))
}

// pages answers with the second file where the token of the first is shown.
func pages(name, first, second string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		next := r.Form.Get(name)
		if r.Form == nil {
			next = jsonMember(r, name)
		}
		recorded(map[string]string{"": first, "page-2": second}[next])(w, r)
	}
}
