package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/fake"
	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func jsonMember(r *http.Request, name string) string {
	var all map[string]any
	_ = json.NewDecoder(r.Body).Decode(&all)
	value, _ := all[name].(string)
	return value
}

var self = cloud.Instance{
	Name: "i-0aaaaaaaaaaaaaaa1", ProviderID: "aws:///eu-central-1a/i-0aaaaaaaaaaaaaaa1",
	Role: cloud.ControlPlane, VPCIP: "192.168.178.10",
}

func TestMetadata(t *testing.T) {
	p, client := start(t)
	got, err := client.Self(t.Context())
	require.NoError(t, err)
	assert.Equal(t, self, got)

	nodes, err := client.Nodes(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []cloud.Instance{
		self,
		{Name: "i-0aaaaaaaaaaaaaaa2", ProviderID: "aws:///eu-central-1b/i-0aaaaaaaaaaaaaaa2", Role: cloud.ControlPlane, VPCIP: "192.168.178.11"},
		{Name: "i-0aaaaaaaaaaaaaaa3", ProviderID: "aws:///eu-central-1a/i-0aaaaaaaaaaaaaaa3", Role: cloud.Worker, VPCIP: "192.168.178.12"},
		{Name: "i-0aaaaaaaaaaaaaaa4", ProviderID: "aws:///eu-central-1a/i-0aaaaaaaaaaaaaaa4", Role: cloud.ControlPlane},
		{Name: "i-0aaaaaaaaaaaaaaa5", ProviderID: "aws:///i-0aaaaaaaaaaaaaaa5", VPCIP: "192.168.178.14"},
		{Name: "i-0aaaaaaaaaaaaaaaa", ProviderID: "aws:///eu-central-1a/i-0aaaaaaaaaaaaaaaa", Role: cloud.ControlPlane, VPCIP: "192.168.178.19"},
	}, nodes, "not of another UID, not terminated; without address or role, but there")

	host, err := client.LoadBalancer(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "cafe0123-0000000000000002.elb.eu-central-1.amazonaws.com", host)
	assert.Equal(t, append(round, list, resources, resources, balancers), p.Calls(), "one login for all")
}

// TestEndpoints: what one instance lacks is said, and costs none of the others.
func TestEndpoints(t *testing.T) {
	_, client := start(t)
	endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	require.ErrorContains(t, err, `node "i-0aaaaaaaaaaaaaaa4": "": not a usable host`)
	assert.Equal(t, []string{"192.168.178.11:30090", "192.168.178.19:30090"}, endpoints)
}

func TestNewAsksNobody(t *testing.T) {
	p, _ := start(t)
	assert.Empty(t, p.Calls())
}

// TestSelf: what is missing of this instance.
func TestSelf(t *testing.T) {
	unknown := self
	unknown.Role = cloud.Unknown
	for name, tc := range map[string]struct {
		call    string
		answer  http.HandlerFunc
		want    cloud.Instance
		wantErr string
	}{
		"no role":            {describe, edited(t, "self.xml", "constellation-role", "role"), unknown, ""},
		"role unheard of":    {describe, edited(t, "self.xml", "control-plane", "admin"), unknown, ""},
		"tag without value":  {describe, edited(t, "self.xml", "<value>control-plane</value>", ""), unknown, ""},
		"no zone":            {document, edited(t, "identity.json", `"eu-central-1a"`, "null"), cloud.Instance{Name: self.Name, ProviderID: "aws:///" + self.Name, Role: self.Role, VPCIP: self.VPCIP}, ""},
		"no instance":        {document, edited(t, "identity.json", "instanceId", "x"), cloud.Instance{}, "names no instance, or no region"},
		"no region":          {document, edited(t, "identity.json", `"region"`, `"x"`), cloud.Instance{}, "names no instance, or no region"},
		"region is no name":  {document, edited(t, "identity.json", `"eu-central-1"`, `"x.example.org/?"`), cloud.Instance{}, "region"},
		"document of no use": {document, fake.Text("<html>"), cloud.Instance{}, "reading the instance identity document"},
		"no reservation":     {describe, fake.Text(`<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>`), cloud.Instance{}, `EC2 knows no "i-0aaaaaaaaaaaaaaa1"`},
		"empty reservation":  {describe, fake.Text(`<DescribeInstancesResponse><reservationSet><item/></reservationSet></DescribeInstancesResponse>`), cloud.Instance{}, "EC2 knows no"},
		"instance of others": {describe, edited(t, "self.xml", "i-0aaaaaaaaaaaaaaa1", "i-0aaaaaaaaaaaaaaa2"), cloud.Instance{}, "EC2 knows no"},
		"no permission":      {describe, fake.Status(403, failure("UnauthorizedOperation", "You are not authorized")), cloud.Instance{}, "UnauthorizedOperation"},
		"no IAM role":        {role, fake.Status(404, ""), cloud.Instance{}, "StatusCode: 404"},
		"two IAM roles":      {role, fake.Text("node\nother"), self, ""},
		"role has failed":    {credentials, fake.Text(`{"Code":"AssumeRoleUnauthorizedAccess","Message":"no"}`), cloud.Instance{}, "AssumeRoleUnauthorizedAccess"},
		"IMDS without token": {token, fake.Status(404, ""), cloud.Instance{}, "failed to get API token"},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t)
			p.Say(tc.call, tc.answer)
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

// failure is an error of EC2.
func failure(code, message string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>0f</RequestID></Response>`, code, message)
}

func TestNodes(t *testing.T) {
	for name, tc := range map[string]struct {
		call    string
		answer  http.HandlerFunc
		wantErr string
	}{
		"this node has no UID": {describe, edited(t, "self.xml", "constellation-uid", "uid"), "i-0aaaaaaaaaaaaaaa1, has no tag constellation-uid"},
		"this UID is empty":    {describe, edited(t, "self.xml", "cafe0123", ""), "has no tag constellation-uid"},
		"nobody":               {list, fake.Text(`<DescribeInstancesResponse/>`), `no running instance has the tag constellation-uid="cafe0123"`},
		"all of another UID":   {list, edited(t, "page2.xml", "cafe0123", "CAFE0123"), "no running instance"},
		"none runs":            {list, edited(t, "page2.xml", "running", "stopped"), "no running instance"},
		"not permitted":        {list, fake.Status(403, failure("UnauthorizedOperation", strings.Repeat("long ", 1000))), "UnauthorizedOperation"},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t)
			p.Say(tc.call, tc.answer)
			nodes, err := client.Nodes(t.Context())
			require.ErrorContains(t, err, tc.wantErr)
			assert.Less(t, len(err.Error()), printable.MaxError+100)
			assert.Empty(t, nodes)
		})
	}
}

// TestNodesOfGoodPages: a page that fails takes none of those before it along.
func TestNodesOfGoodPages(t *testing.T) {
	p, client := start(t)
	p.Say(list, pagesThenFault)
	endpoints, err := cloud.ControlPlanes(client).JoinEndpoints(t.Context())
	require.ErrorContains(t, err, "listing instances")
	assert.Equal(t, []string{"192.168.178.11:30090"}, endpoints)
}

func pagesThenFault(w http.ResponseWriter, r *http.Request) {
	if r.Form.Get("NextToken") == "" {
		recorded("page1.xml")(w, r)
		return
	}
	w.WriteHeader(http.StatusBadRequest)
}

// TestPagesAreCapped: a list without end is cut; what was on its pages counts.
func TestPagesAreCapped(t *testing.T) {
	p, client := start(t)
	p.Say(list, recorded("page1.xml"))
	nodes, err := client.Nodes(t.Context())
	require.NoError(t, err)
	assert.Len(t, nodes, 3*cloud.MaxPages)
	assert.Equal(t, cloud.MaxPages, p.Count(list))

	p.Say(resources, recorded("resources1.json"))
	_, err = client.LoadBalancer(t.Context())
	require.ErrorContains(t, err, "no load balancer has the tag")
	assert.Equal(t, cloud.MaxPages, p.Count(resources))
}

func TestLoadBalancer(t *testing.T) {
	const own = "net/cafe0123/0000000000000002"
	gone := fake.Status(400, `<ErrorResponse><Error><Type>Sender</Type><Code>LoadBalancerNotFound</Code><Message>gone</Message></Error></ErrorResponse>`)
	old, young := "2026-11-24T07:00:00.000Z", "2026-11-24T09:00:00.000Z"
	for name, tc := range map[string]struct {
		arns     []string
		balancer map[string]http.HandlerFunc // by the end of its ARN
		want     string
		wantErr  string
	}{
		"none":           {nil, nil, "", `no load balancer has the tag constellation-uid="cafe0123"`},
		"one":            {[]string{own}, map[string]http.HandlerFunc{"2": recorded("balancers.xml")}, "cafe0123-0000000000000002.elb.eu-central-1.amazonaws.com", ""},
		"of HTTP":        {[]string{own}, map[string]http.HandlerFunc{"2": edited(t, "balancers.xml", ">network<", ">application<")}, "", "none of 1 load balancers"},
		"without a name": {[]string{own}, map[string]http.HandlerFunc{"2": edited(t, "balancers.xml", "DNSName", "X")}, "", "none of 1 load balancers"},
		"empty answer":   {[]string{own}, map[string]http.HandlerFunc{"2": fake.Text("<DescribeLoadBalancersResponse/>")}, "", "none of 1 load balancers"},
		"one deleted, and one of HTTP": {[]string{"x1", "x3", own}, map[string]http.HandlerFunc{
			"1": gone,
			"3": edited(t, "balancers.xml", ">network<", ">application<"), "2": recorded("balancers.xml"),
		}, "cafe0123-0000000000000002.elb.eu-central-1.amazonaws.com", ""},
		"all deleted": {[]string{"x1"}, map[string]http.HandlerFunc{"1": gone}, "", "LoadBalancerNotFound"},
		"the oldest of three": {[]string{"x1", own, "x3"}, map[string]http.HandlerFunc{
			"1": edited(t, "balancers.xml", "cafe0123-", "young-", old, young), "2": recorded("balancers.xml"),
			"3": edited(t, "balancers.xml", "cafe0123-", "young-", old, young),
		}, "cafe0123-0000000000000002.elb.eu-central-1.amazonaws.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t)
			p.Say(resources, mappings(tc.arns))
			p.Say(balancers, func(w http.ResponseWriter, r *http.Request) {
				arn := r.Form.Get("LoadBalancerArns.member.1")
				tc.balancer[arn[len(arn)-1:]](w, r)
			})
			host, err := client.LoadBalancer(t.Context())
			assert.Equal(t, tc.want, host)
			if tc.wantErr == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.wantErr)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

// mappings are load balancers with the UID, among them what has no name or tags.
func mappings(arns []string) http.HandlerFunc {
	all := `{}, {"ResourceARN":"arn:x9","Tags":[{}]}, {"Tags":[{"Key":"constellation-uid","Value":"cafe0123"}]}`
	for _, arn := range arns {
		all += fmt.Sprintf(`, {"ResourceARN":"arn:%s","Tags":[{"Key":"constellation-uid","Value":"cafe0123"}]}`, arn)
	}
	return fake.Text(`{"ResourceTagMappingList":[` + all + `]}`)
}

// TestThrottling: a platform that is busy is asked again, a few times; one that
// asks for patience is not waited for longer than a call may take.
func TestThrottling(t *testing.T) {
	busy := fake.StatusWith(503, "X-Amz-Retry-After", "1", failure("RequestLimitExceeded", "Request limit exceeded."))
	p, client := start(t)
	p.Say(list, busy)
	_, err := client.Nodes(t.Context())
	require.ErrorContains(t, err, "RequestLimitExceeded")
	assert.Equal(t, maxAttempts, p.Count(list))

	p.Say(list, fake.StatusWith(503, "X-Amz-Retry-After", "3600000", failure("RequestLimitExceeded", "Request limit exceeded.")))
	patient, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = client.Nodes(patient)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.LessOrEqual(t, p.Count(list), 1)

	var tries int
	p.Say(list, func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries < maxAttempts {
			busy(w, r)
			return
		}
		recorded("page2.xml")(w, r)
	})
	nodes, err := client.Nodes(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, nodes)
}

// TestEnvironment: an initrd's environment is the host's to write.
func TestEnvironment(t *testing.T) {
	elsewhere := fake.Elsewhere(t)
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_EC2_METADATA_SERVICE_ENDPOINT": elsewhere, "AWS_ENDPOINT_URL": elsewhere,
		"AWS_ENDPOINT_URL_EC2": elsewhere, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x",
		"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false", "AWS_MAX_ATTEMPTS": "100", "HTTP_PROXY": elsewhere,
	} {
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
