// Package aws finds the nodes of a cluster on EC2: through the instance metadata
// service, which also has the credentials, and the APIs for instances, tags and
// load balancers. The node's role needs ec2:DescribeInstances, tag:GetResources
// and elasticloadbalancing:DescribeLoadBalancers.
//
// Trust boundary: all of it is the adversary's word, see package cloud. Nothing
// is read from the environment or from files.
package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"disk-mapper/internal/cloud"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

const (
	maxAttempts = 3
	// maxParts is for pageSize instances with the tags and addresses that EC2 allows.
	maxParts   = 20_000
	maxBackoff = 2 * time.Second // beyond what the answer itself asks for, of which the SDK heeds 5 s
)

// Client implements cloud.Metadata.
type Client struct {
	http        *http.Client
	metadataURL string
	apiURL      *string // of all APIs, or nil for those of the region
	maxBackoff  time.Duration
	session     *cloud.Session[session]
}

// New returns a client of the platform. It asks nobody yet.
func New() *Client {
	c := &Client{http: cloud.NewHTTPClient(), metadataURL: cloud.MetadataURL, maxBackoff: maxBackoff}
	c.session = cloud.NewSession(c.open)
	return c
}

// Self is the instance that asks.
func (c *Client) Self(ctx context.Context) (cloud.Instance, error) {
	return cloud.Use(ctx, c.session, func(s session, _ context.Context) (cloud.Instance, error) { return s.self, nil })
}

// Nodes are the running instances with the same UID, as far as they fit on the
// pages that are read.
func (c *Client) Nodes(ctx context.Context) ([]cloud.Instance, error) {
	return cloud.Use(ctx, c.session, session.nodes)
}

// LoadBalancer is the DNS name of the network load balancer with the same UID.
func (c *Client) LoadBalancer(ctx context.Context) (string, error) {
	return cloud.Use(ctx, c.session, session.loadBalancer)
}

// session is a node that knows itself.
type session struct {
	config sdk.Config
	self   cloud.Instance
	uid    string
}

func (c *Client) open(ctx context.Context) (session, error) {
	metadata := c.metadata()
	document, err := metadata.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return session{}, fmt.Errorf("reading the instance identity document: %w", err)
	}
	if document.InstanceID == "" || document.Region == "" {
		return session{}, errors.New("the instance identity document names no instance, or no region")
	}
	role := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = metadata })
	s := session{config: sdk.Config{
		Region:       document.Region,
		BaseEndpoint: c.apiURL,
		HTTPClient:   httpClient{c.http},
		Credentials:  sdk.NewCredentialsCache(role),
		Retryer:      c.retryer,
	}}
	return s.known(ctx, document.InstanceIdentityDocument)
}

// httpClient is what the SDK calls the platform with.
type httpClient struct{ *http.Client }

// Do hides that the SDK's bodies can write themselves: when they have been closed,
// which the SDK does as soon as there is an answer, they say so with an error, and
// net/http drops the connection with the answer on it. It fails where an answer has
// so many parts that they would take far more memory than the answer itself.
func (c httpClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	response, err := c.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if err := bounded(body); err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// bounded fails if there are more than maxParts elements of lists, which XML calls
// item or member, in any case, and JSON puts in braces.
func bounded(body []byte) error {
	lower, parts := bytes.ToLower(body), 0
	for _, name := range []string{"{", "item", "member"} {
		parts += bytes.Count(lower, []byte(name))
	}
	if parts > maxParts {
		return fmt.Errorf("the answer has %d parts, want at most %d", parts, maxParts)
	}
	return nil
}

// metadata is a client that neither the environment can point elsewhere nor an
// error makes do without tokens.
func (c *Client) metadata() *imds.Client {
	return imds.New(imds.Options{
		Endpoint:                 c.metadataURL,
		HTTPClient:               httpClient{c.http},
		Retryer:                  c.retryer(),
		ClientEnableState:        imds.ClientEnabled,
		EnableFallback:           sdk.FalseTernary,
		DisableDefaultMaxBackoff: true, // the retryer has one
	})
}

func (c *Client) retryer() sdk.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = maxAttempts, c.maxBackoff
	})
}
