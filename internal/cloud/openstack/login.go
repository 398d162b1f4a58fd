package openstack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	sdk "github.com/gophercloud/gophercloud/v2/openstack"

	"disk-mapper/internal/printable"
)

const (
	maxRetries    = 2               // of a call that came too soon
	maxRetryAfter = 3 * time.Second // the next round of calls is not much later
	// computeVersion is the first that lists the tags of servers and that all
	// releases of the last years have.
	computeVersion = "2.42"
)

// userData is what the deployment leaves for its servers.
type userData struct {
	AuthURL      string `json:"openstack-auth-url"`
	UserDomain   string `json:"openstack-user-domain-name"`
	Region       string `json:"openstack-region-name"`
	Username     string `json:"openstack-username"`
	Password     string `json:"openstack-password"`
	LoadBalancer string `json:"openstack-load-balancer-endpoint"`
}

// Format keeps the password out of whatever is printed.
func (userData) Format(out fmt.State, _ rune) { _, _ = io.WriteString(out, "[secret]") }

// login asks Keystone, in version 3 only, for a token and for where the other
// services are.
func (u userData) login(ctx context.Context, client *http.Client) (session, error) {
	if err := u.complete(); err != nil {
		return session{}, err
	}
	provider, err := sdk.NewClient(u.AuthURL)
	if err != nil || !strings.HasPrefix(u.AuthURL, "http") {
		return session{}, fmt.Errorf("openstack-auth-url is %s, want a URL of http or https", printable.Quote(u.AuthURL))
	}
	provider.HTTPClient = *client
	provider.MaxBackoffRetries = maxRetries
	provider.RetryBackoffFunc = waitFor
	err = sdk.AuthenticateV3(ctx, provider, &gophercloud.AuthOptions{
		IdentityEndpoint: u.AuthURL,
		DomainName:       u.UserDomain,
		Username:         u.Username,
		Password:         u.Password,
	}, gophercloud.EndpointOpts{})
	if err != nil {
		return session{}, told(err)
	}
	compute, computeErr := u.service(provider, "compute")
	network, networkErr := u.service(provider, "network")
	if computeErr != nil || networkErr != nil {
		return session{}, errors.Join(computeErr, networkErr)
	}
	compute.Microversion = computeVersion
	network.ResourceBase = network.Endpoint + "v2.0/"
	return session{compute: compute, network: network}, nil
}

// complete fails if something is missing, and says what.
func (u userData) complete() error {
	var missing []string
	for name, value := range map[string]string{
		"auth-url": u.AuthURL, "user-domain-name": u.UserDomain, "region-name": u.Region, "username": u.Username, "password": u.Password,
	} {
		if value == "" {
			missing = append(missing, "openstack-"+name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("the user data has no %s", strings.Join(missing, ", "))
}

// service finds one in the catalog, without asking it for its versions: the SDK's
// own constructors do that with a context of their own.
func (u userData) service(provider *gophercloud.ProviderClient, kind string) (*gophercloud.ServiceClient, error) {
	wanted := gophercloud.EndpointOpts{Region: u.Region}
	wanted.ApplyDefaults(kind)
	endpoint, err := provider.EndpointLocator(wanted)
	if err != nil {
		return nil, fmt.Errorf("the catalog has no public endpoint of service %s in region %s; does the user have a default project? %w", kind, printable.Quote(u.Region), err)
	}
	return &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: endpoint, Type: kind}, nil
}

// told is err as it may be told: without what a server has said. Some of them send
// back what they were sent, the password with it, and the SDK and net/http quote
// what they do not expect.
func told(err error) error {
	answer, unexpected := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err)
	network, unreachable := errors.AsType[*net.OpError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case unexpected:
		return fmt.Errorf("%s was answered with status %d", answer.Method, answer.Actual)
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case unreachable:
		return network
	case untrusted:
		return errors.New("the certificate of the server is not trusted")
	}
	return fmt.Errorf("the answer is not one of OpenStack (%T)", err)
}

// waitFor waits as long as a busy server asks for, unless that is too long.
func waitFor(ctx context.Context, busy *gophercloud.ErrUnexpectedResponseCode, _ error, _ uint) error {
	after := time.Second
	if seconds, err := strconv.Atoi(busy.ResponseHeader.Get("Retry-After")); err == nil && seconds >= 0 {
		after = time.Duration(min(seconds, 3600)) * time.Second
	}
	if after > maxRetryAfter {
		return *busy
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(after):
		return nil
	}
}
