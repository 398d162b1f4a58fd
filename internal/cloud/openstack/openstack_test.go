package openstack

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var self = cloud.Instance{Name: "cp-0", ProviderID: "11111111-0000-4000-8000-000000000001", Role: cloud.ControlPlane, VPCIP: "192.168.178.10"}

func TestMetadata(t *testing.T) {
	p, client := start(t)
	got, err := client.Self(t.Context())
	require.NoError(t, err)
	assert.Equal(t, self, got)
	assert.Equal(t, []string{metaData, localIPv4}, p.Calls(), "no login")

	host, err := client.LoadBalancer(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "203.0.113.7", host)
	assert.Equal(t, []string{userDataOf}, p.Calls(), "no login")

	nodes, err := client.Nodes(t.Context())
	require.NoError(t, err)
	node := func(n int, name string, role cloud.Role, address string) cloud.Instance {
		return cloud.Instance{Name: name, ProviderID: fmt.Sprintf("11111111-0000-4000-8000-%012d", n), Role: role, VPCIP: address}
	}
	assert.Equal(t, []cloud.Instance{
		self,
		node(2, "cp-1", cloud.ControlPlane, "192.168.178.11"),
		node(3, "worker-0", cloud.Worker, "192.168.178.12"),
		node(4, "no-address", cloud.ControlPlane, ""),
		node(5, "no-role", cloud.Unknown, "192.168.178.14"),
		node(8, "odd-types", cloud.ControlPlane, "192.168.178.17"),
		node(9, "odd-addresses", cloud.ControlPlane, ""),
		node(10, "elsewhere", cloud.ControlPlane, ""),
		node(11, "cp-2", cloud.ControlPlane, "192.168.178.19"),
	}, nodes)
	assert.Equal(t, []string{metaData, userDataOf, login, localIPv4, networks, subnets, servers, servers}, p.Calls())

	_, err = client.Nodes(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{networks, subnets, servers, servers}, p.Calls(), "the login is kept")
}

// TestEndpoints: what one server lacks is said, and costs none of the others.
func TestEndpoints(t *testing.T) {
	_, client := start(t)
	endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	require.ErrorContains(t, err, `node "no-address": "": not a usable host`)
	assert.Equal(t, []string{"192.168.178.11:30090", "192.168.178.17:30090", "192.168.178.19:30090"}, endpoints)
}

func TestNewAsksNobody(t *testing.T) {
	p, _ := start(t)
	assert.Empty(t, p.Calls())
}

// TestSelf: what is missing of this server.
func TestSelf(t *testing.T) {
	without := func(change func(*cloud.Instance)) cloud.Instance { s := self; change(&s); return s }
	for name, tc := range map[string]struct {
		call    string
		answer  func(*platform) http.HandlerFunc
		want    cloud.Instance
		wantErr string
	}{
		"no role":    {metaData, func(p *platform) http.HandlerFunc { return p.edited("meta_data.json", "constellation-role", "x") }, without(func(s *cloud.Instance) { s.Role = cloud.Unknown }), ""},
		"no meta":    {metaData, func(p *platform) http.HandlerFunc { return p.edited("meta_data.json", `"meta"`, `"x"`) }, without(func(s *cloud.Instance) { s.Role = cloud.Unknown }), ""},
		"no address": {localIPv4, func(*platform) http.HandlerFunc { return fake.Status(404, "") }, without(func(s *cloud.Instance) { s.VPCIP = "" }), ""},
		"no server":  {metaData, func(*platform) http.HandlerFunc { return fake.Text("{}") }, cloud.Instance{}, "describes no server"},
		"null":       {metaData, func(*platform) http.HandlerFunc { return fake.Text("null") }, cloud.Instance{}, "describes no server"},
		"no service": {metaData, func(*platform) http.HandlerFunc { return fake.Status(404, "") }, cloud.Instance{}, "status 404"},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t)
			p.Say(tc.call, tc.answer(p))
			got, err := client.Self(t.Context())
			assert.Equal(t, tc.want, got)
			if tc.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.wantErr)
			}
		})
	}
}

func TestNoLoadBalancer(t *testing.T) {
	p, client := start(t)
	p.Say(userDataOf, p.edited("user_data.json", "203.0.113.7", ""))
	_, err := client.LoadBalancer(t.Context())
	require.EqualError(t, err, "the user data has no openstack-load-balancer-endpoint")
}

func TestNodesThatCannotBeListed(t *testing.T) {
	edit := func(name string, replace ...string) func(*platform) http.HandlerFunc {
		return func(p *platform) http.HandlerFunc { return p.edited(name, replace...) }
	}
	code := func(code int) func(*platform) http.HandlerFunc {
		return func(*platform) http.HandlerFunc { return fake.Status(code, "") }
	}
	for name, tc := range map[string]struct {
		call    string
		answer  func(*platform) http.HandlerFunc
		wantErr string
	}{
		"no UID":                {metaData, edit("meta_data.json", "constellation-uid", "uid"), `the metadata of this server, "cp-0", has no constellation-uid`},
		"no password":           {userDataOf, edit("user_data.json", "openstack-password", "password"), "the user data has no openstack-password"},
		"no auth URL":           {userDataOf, edit("user_data.json", "openstack-auth-url", "url"), "the user data has no openstack-auth-url"},
		"auth URL is a file":    {userDataOf, edit("user_data.json", "http://openstack.example", "file:///etc"), `openstack-auth-url is "file:///etc/identity/v3/", want a URL of http or https`},
		"auth URL is garbage":   {userDataOf, edit("user_data.json", "http://openstack.example", "http://[::1"), "openstack-auth-url"},
		"wrong password":        {userDataOf, edit("user_data.json", "w%rd", "word"), "logging in to OpenStack: POST was answered with status 401"},
		"user of no domain":     {userDataOf, edit("user_data.json", "portal_mvp", "Default"), "POST was answered with status 401"},
		"other region":          {userDataOf, edit("user_data.json", "RegionOne", "RegionThree"), `no public endpoint of service compute in region "RegionThree"`},
		"no default project":    {login, tokenWithout("catalog"), "does the user have a default project?"},
		"catalog of no network": {login, tokenWithout("network"), "no public endpoint of service network"},
		"token has run out":     {servers, code(401), "listing servers: GET was answered with status 401"},
		"not permitted":         {networks, code(403), "listing networks: GET was answered with status 403"},
		"no such API":           {subnets, code(404), "listing subnets: GET was answered with status 404"},
		"no list":               {servers, func(*platform) http.HandlerFunc { return fake.Text("{}") }, "listing servers: reading the list: want an array"},
		"no servers":            {servers, func(*platform) http.HandlerFunc { return fake.Text(`{"servers":[]}`) }, `no server has the tag "constellation-uid-cafe0123"`},
		"servers of others":     {servers, edit("servers2.json", "constellation-uid-cafe0123", "constellation-uid-CAFE0123"), "no server has the tag"},
		"no networks":           {networks, func(*platform) http.HandlerFunc { return fake.Text(`{"networks":[]}`) }, `0 networks have the tag "constellation-uid-cafe0123", but none has`},
		"network of others":     {networks, edit("networks.json", "constellation-uid-cafe0123", "x"), "but none has an IPv4 subnet"},
		"subnets of others":     {subnets, edit("subnets.json", "constellation-uid-cafe0123", "x"), "but none has an IPv4 subnet"},
		"subnet of IPv6":        {subnets, edit("subnets.json", "192.168.178.0/24", "fd00::/64"), "but none has an IPv4 subnet"},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t)
			p.Say(tc.call, tc.answer(p))
			nodes, err := client.Nodes(t.Context())
			require.ErrorContains(t, err, tc.wantErr)
			assert.Empty(t, nodes)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

// tokenWithout is the answer to a login, with a member or service renamed.
func tokenWithout(name string) func(*platform) http.HandlerFunc {
	return func(p *platform) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Subject-Token", "a-token")
			w.WriteHeader(http.StatusCreated)
			p.edited("token.json", `"`+name+`"`, `"x"`)(w, r)
		}
	}
}

// TestSubnets: which of several networks and subnets nodes are asked on.
func TestSubnets(t *testing.T) {
	const tag = `"tags":["constellation-uid-cafe0123"]`
	network := func(id, name string) string { return fmt.Sprintf(`{"id":%q,"name":%q,%s}`, id, name, tag) }
	subnet := func(network, name, cidr string) string {
		return fmt.Sprintf(`{"network_id":%q,"name":%q,"cidr":%q,%s}`, network, name, cidr, tag)
	}
	one, two := network("n1", "cluster"), network("n2", "second")
	for name, tc := range map[string]struct {
		networks, subnets []string
		own               string
		want              string
	}{
		"the one of the network's name": {[]string{one}, []string{subnet("n1", "a", "10.0.0.0/8"), subnet("n1", "cluster", "192.168.0.0/16"), subnet("n1", "b", "172.16.0.0/12")}, "", "192.168.0.1"},
		"the one of this server":        {[]string{one}, []string{subnet("n1", "cluster", "192.168.0.0/16"), subnet("n1", "a", "10.0.0.0/8")}, "10.9.9.9", "10.0.0.1"},
		"this server is elsewhere":      {[]string{one}, []string{subnet("n1", "a", "10.0.0.0/8"), subnet("n1", "cluster", "192.168.0.0/16")}, "198.51.100.1", "192.168.0.1"},
		"the first of two networks":     {[]string{one, two}, []string{subnet("n1", "cluster", "192.168.0.0/16"), subnet("n2", "second", "10.0.0.0/8")}, "", "192.168.0.1"},
		"the second, for this server":   {[]string{one, two}, []string{subnet("n1", "cluster", "192.168.0.0/16"), subnet("n2", "second", "10.0.0.0/8")}, "10.9.9.9", "10.0.0.1"},
		"name of the other network":     {[]string{one, two}, []string{subnet("n1", "second", "10.0.0.0/8"), subnet("n2", "second", "172.16.0.0/12")}, "", "172.16.0.1"},
		"network of others":             {[]string{one}, []string{subnet("n2", "cluster", "10.0.0.0/8"), subnet("n1", "cluster", "172.16.0.0/12")}, "", "172.16.0.1"},
		"garbage":                       {[]string{"7", "null", one}, []string{"7", "{}", subnet("n1", "cluster", "10.0.0.0"), subnet("n1", "cluster", "172.16.0.0/12")}, "x", "172.16.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t)
			p.Say(networks, fake.Text(`{"networks":[`+strings.Join(tc.networks, ",")+`]}`))
			p.Say(subnets, fake.Text(`{"subnets":[`+strings.Join(tc.subnets, ",")+`]}`))
			p.Say(localIPv4, fake.Text(tc.own))
			p.Say(servers, fake.Text(`{"servers":[{"id":"1",`+tag+`,"addresses":{"a":[{"addr":"172.16.0.1","OS-EXT-IPS:type":"fixed"}],`+
				`"b":[{"addr":"192.168.0.1","OS-EXT-IPS:type":"fixed"}],"c":[{"addr":"10.0.0.2","OS-EXT-IPS:type":"floating"},{"addr":"10.0.0.1","OS-EXT-IPS:type":"fixed"}]}}]}`))
			nodes, err := client.Nodes(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tc.want, nodes[0].VPCIP)
		})
	}
}

// TestPagesAreCapped: a list without end is cut; what was on its pages counts.
func TestPagesAreCapped(t *testing.T) {
	p, client := start(t)
	p.Say(servers, p.recorded("servers1.json"))
	nodes, err := client.Nodes(t.Context())
	require.NoError(t, err)
	assert.Len(t, nodes, 3*cloud.MaxPages)
	assert.Equal(t, cloud.MaxPages, p.Count(servers))
}

// TestNodesOfGoodPages: a page that fails takes none of those before it along.
func TestNodesOfGoodPages(t *testing.T) {
	p, client := start(t)
	p.Say(servers, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("marker") {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		p.recorded("servers1.json")(w, r)
	})
	endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	require.ErrorContains(t, err, "listing servers: GET was answered with status 502")
	assert.Equal(t, []string{"192.168.178.11:30090"}, endpoints)
}

// TestThrottling: a platform that is busy is asked again, a few times, when it
// says; one that asks for more patience than there is, in the next round.
func TestThrottling(t *testing.T) {
	p, client := start(t)
	p.Say(networks, fake.StatusWith(429, "Retry-After", "0", ""))
	_, err := client.Nodes(t.Context())
	require.ErrorContains(t, err, "listing networks: GET was answered with status 429")
	assert.Equal(t, 1+maxRetries, p.Count(networks))

	p.Say(networks, fake.StatusWith(429, "Retry-After", "3600", ""))
	_, err = client.Nodes(t.Context())
	require.ErrorContains(t, err, "status 429")
	assert.Equal(t, 1, p.Count(networks))

	p.Say(networks, fake.StatusWith(429, "Retry-After", "3", ""))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = client.Nodes(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	var tries int
	p.Say(networks, func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries <= maxRetries {
			fake.StatusWith(429, "Retry-After", "0", "")(w, r)
			return
		}
		p.recorded("networks.json")(w, r)
	})
	_, err = client.Nodes(t.Context())
	require.NoError(t, err)
}

// TestThePasswordIsInNoError, whatever a server does with what it was sent.
func TestThePasswordIsInNoError(t *testing.T) {
	quoted := `pa\"ss w%rd/é`
	for name, answer := range map[string]http.HandlerFunc{
		"in the body of a refusal": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400); _, _ = fmt.Fprint(w, secret) },
		"in the body":              func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); _, _ = fmt.Fprint(w, secret) },
		"in a header":              fake.StatusWith(401, "X-Subject-Token", "x"+secret, ""),
		"where it leads to":        fake.StatusWith(302, "Location", "http://"+secret, ""),
		"where it leads, escaped":  fake.StatusWith(302, "Location", ":"+url.QueryEscape(secret), ""),
		"in the status":            raw("HTTP/1.1 " + secret + "\r\n\r\n"),
		"for a status":             raw(secret + "\r\n\r\n"),
		"as a service": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Subject-Token", "a-token")
			w.WriteHeader(201)
			_, _ = fmt.Fprintf(w, `{"token":{"catalog":[{"type":"compute","endpoints":[{"interface":"public","region":"RegionOne","url":"http://127.0.0.1:1/%s"}]},`+
				`{"type":"network","endpoints":[{"interface":"public","region":"RegionOne","url":"http://127.0.0.1:1/%s"}]}]}}`, quoted, quoted)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t)
			p.Say(login, answer)
			_, err := client.Nodes(t.Context())
			require.Error(t, err)
			for _, form := range []string{secret, quoted, url.QueryEscape(secret), "w%rd", "w%25rd"} {
				assert.NotContains(t, err.Error(), form)
				assert.NotContains(t, fmt.Sprintf("%+v %#v", err, err), form)
			}
		})
	}
	data := userData{Password: secret}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		assert.Equal(t, "[secret]", fmt.Sprintf(verb, data))
		assert.NotContains(t, fmt.Sprintf(verb, &data), "w%rd")
	}
}

// raw is an answer that is not, or hardly, HTTP.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = conn.Write([]byte(answer))
			_ = conn.Close()
		}
	}
}

// TestEnvironment: an initrd's environment is the host's to write.
func TestEnvironment(t *testing.T) {
	elsewhere := fake.Elsewhere(t)
	for name, value := range map[string]string{"OS_AUTH_URL": elsewhere, "OS_USERNAME": "x", "OS_PASSWORD": "x", "OS_REGION_NAME": "x", "HTTP_PROXY": elsewhere} {
		t.Setenv(name, value)
	}
	_, client := start(t)
	_, err := client.Nodes(t.Context())
	require.NoError(t, err)
}

func BenchmarkRound(b *testing.B) {
	p, _ := start(b)
	fake.Rounds(b, p.Script, func() cloud.Metadata { return newClient(p.URL) })
}
