package openstack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
)

// The calls that the node makes of its platform: three of the metadata service, a
// login, and these three, which the user's role must permit.
const (
	metaData   = "GET /openstack/2018-08-27/meta_data.json"
	userDataOf = "GET /openstack/2018-08-27/user_data"
	localIPv4  = "GET /1.0/meta-data/local-ipv4"
	login      = "POST /identity/v3/auth/tokens"
	networks   = "GET /network/v2.0/networks"
	subnets    = "GET /network/v2.0/subnets"
	servers    = "GET /compute/v2.1/servers/detail"
)

// permissions are those of the calls, by their names in the policies of the services.
var permissions = map[string]string{networks: "get_network", subnets: "get_subnet", servers: "os_compute_api:servers:detail"}

func TestPermissionsAreDocumented(t *testing.T) {
	fake.AssertDocumented(t, "openstack", permissions[networks], permissions[subnets], permissions[servers])
}

var round = []string{metaData, userDataOf, login, networks, subnets, servers}

// secret is the password in user_data.json.
const secret = `pa"ss w%rd/é`

// platform is the metadata service and the APIs of OpenStack, in one server. It
// keeps a call that it does not know for a fault of the test.
type platform struct {
	testing.TB
	*fake.Script
	URL string
}

// start returns a platform that answers as OpenStack would, and a client of it.
func start(t testing.TB) (*platform, *Client) {
	p := newPlatform(t)
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	p.URL = server.URL
	return p, newClient(p.URL)
}

func newClient(url string) *Client {
	client := New()
	client.url = url
	return client
}

func newPlatform(t testing.TB) *platform {
	p := &platform{TB: t, URL: "http://openstack.example"}
	p.Script = fake.NewScript(map[string]http.HandlerFunc{
		metaData: p.recorded("meta_data.json"), userDataOf: p.recorded("user_data.json"), localIPv4: fake.Text("192.168.178.10"),
		login: p.token, networks: p.recorded("networks.json"), subnets: p.recorded("subnets.json"),
		servers: func(w http.ResponseWriter, r *http.Request) {
			p.recorded(map[string]string{"": "servers1.json", "3": "servers2.json"}[r.URL.Query().Get("marker")])(w, r)
		},
	})
	return p
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // an unread one keeps the server from seeing that the client has left
	if err != nil {
		return // it has left
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	call, api := r.Method+" "+r.URL.Path, strings.HasPrefix(r.URL.Path, "/compute/") || strings.HasPrefix(r.URL.Path, "/network/")
	answer := p.Take(call)
	if answer == nil || api && (r.Header.Get("X-Auth-Token") != "a-token" || r.URL.Query().Get("tags") != "constellation-uid-cafe0123") {
		p.Errorf("call that the platform does not permit: %s %v", call, r.URL.Query())
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if call == servers {
		assert.Equal(p, "2.42 compute 2.42", r.Header.Get("X-OpenStack-Nova-API-Version")+" "+r.Header.Get("OpenStack-API-Version"))
	}
	answer(w, r)
}

// token is the answer to a login with the right password.
func (p *platform) token(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Auth struct {
			Identity struct {
				Methods  []string
				Password struct {
					User struct {
						Name, Password string
						Domain         struct{ Name string }
					}
				}
			}
			Scope any
		}
	}
	assert.NoError(p, json.NewDecoder(r.Body).Decode(&request))
	user := request.Auth.Identity.Password.User
	if fmt.Sprint(user.Name, user.Domain.Name, user.Password, request.Auth.Scope) != "constellation"+"portal_mvp"+secret+"<nil>" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-Subject-Token", "a-token")
	w.WriteHeader(http.StatusCreated)
	p.recorded("token.json")(w, r)
}

func (p *platform) recorded(name string) http.HandlerFunc { return p.here(fake.Read(name)) }

func (p *platform) edited(name string, replace ...string) http.HandlerFunc {
	return p.here(fake.Edited(p, name, replace...))
}

// here answers with text in which the platform is this one.
func (p *platform) here(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fake.Text(strings.ReplaceAll(text, "http://openstack.example", p.URL))(w, r)
	}
}
