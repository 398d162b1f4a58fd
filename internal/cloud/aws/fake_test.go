package aws

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	page, err := os.ReadFile("../../../docs/platforms.md")
	require.NoError(t, err)
	for _, permission := range []string{describe, resources, balancers} {
		assert.Contains(t, string(page), "| aws | `"+permission+"` |")
	}
	assert.Equal(t, 3, strings.Count(string(page), "| aws | `"))
}

var round = []string{token, document, role, credentials, describe, list}

// platform is the metadata service and the APIs of AWS, in one server. It keeps a
// call that it does not know for a fault of the test.
type platform struct {
	testing.TB
	URL     string
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	calls   []string
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
	return &platform{TB: t, answers: map[string]http.HandlerFunc{
		token: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
			_, _ = fmt.Fprint(w, "a-token")
		},
		document: recorded("identity.json"), role: text("node"), credentials: recorded("credentials.json"),
		describe: recorded("self.xml"), list: pages("NextToken", "page1.xml", "page2.xml"),
		resources: pages("PaginationToken", "resources1.json", "resources2.json"), balancers: recorded("balancers.xml"),
	}}
}

// newClient does not wait between its tries.
func newClient(url string) *Client {
	client := New()
	client.metadataURL, client.apiURL, client.maxBackoff = url, &url, time.Millisecond
	return client
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // an unread one keeps the server from seeing that the client has left
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
	p.mu.Lock()
	p.calls = append(p.calls, call)
	answer := p.answers[call]
	p.mu.Unlock()
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

// answer changes what is said to a call from now on.
func (p *platform) answer(call string, answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[call] = answer
}

// asked returns the calls since it was called last.
func (p *platform) asked() (calls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls, p.calls = p.calls, nil
	return calls
}

func (p *platform) count(call string) (n int) {
	for _, c := range p.asked() {
		if c == call {
			n++
		}
	}
	return n
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, body) }
}

func status(code int, header, value, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(header, value)
		w.WriteHeader(code)
		_, _ = fmt.Fprint(w, body)
	}
}

func file(name string) string {
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func recorded(name string) http.HandlerFunc { return text(file(name)) }

// edited is a recorded answer in which old has been replaced, which must be there.
func edited(t *testing.T, name string, replace ...string) http.HandlerFunc {
	body := file(name)
	for pair := range slices.Chunk(replace, 2) {
		require.Contains(t, body, pair[0])
		body = strings.ReplaceAll(body, pair[0], pair[1])
	}
	return text(body)
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
