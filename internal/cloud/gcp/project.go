package gcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/printable"

	"cloud.google.com/go/compute/metadata"
	"google.golang.org/api/compute/v1"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

// project is the one that this node is in, with what it takes to ask for its parts.
type project struct {
	name           string
	zone, instance string // of this node
	marks          marks
	service        *compute.Service
}

func (c *Client) project(ctx context.Context) (project, error) {
	p, server := project{marks: c.marks}, metadata.NewClient(c.http)
	for _, part := range []struct {
		path string
		to   *string
	}{{"project/project-id", &p.name}, {"instance/zone", &p.zone}, {"instance/name", &p.instance}} {
		answer, err := ask(ctx, server, part.path)
		if err != nil {
			return project{}, err
		}
		if *part.to, err = parseName(answer); err != nil {
			return project{}, fmt.Errorf("reading %s: %w", part.path, err)
		}
	}
	token, err := ask(ctx, server, "instance/service-accounts/default/token")
	if err != nil {
		return project{}, err
	}
	p.service, err = c.service(ctx, token)
	return p, err
}

// ask keeps nothing, unlike the methods that the SDK has for some of the paths.
func ask(ctx context.Context, server *metadata.Client, path string) (string, error) {
	answer, err := server.GetWithContext(ctx, path)
	if err != nil {
		return "", fmt.Errorf("asking the metadata server for %s: %w", path, short(err))
	}
	return answer, nil
}

// A project's name may begin with a domain.
var name = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,127}$`)

// parseName reads the name of a project, zone or instance, or the last part of a
// path that ends in one, such as projects/NUMBER/zones/ZONE.
func parseName(answer string) (string, error) {
	found := lastPart(strings.TrimSpace(answer), "/")
	if !name.MatchString(found) {
		return "", fmt.Errorf("found %s, want a name", printable.Quote(found))
	}
	return found, nil
}

// service takes the token of the machine's service account as the metadata server
// writes it. The search of the SDK for default credentials would begin in the
// environment and in files, which an initrd has not, and then use a client of its
// own, without our limits.
func (c *Client) service(ctx context.Context, token string) (*compute.Service, error) {
	var t struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(token), &t); err != nil {
		return nil, fmt.Errorf("reading the token of the service account: %w", err)
	}
	if t.AccessToken == "" {
		return nil, errors.New("reading the token of the service account: found no access_token")
	}
	client := *c.http
	client.Transport = bearer{t.AccessToken, c.http.Transport}
	service, err := compute.NewService(ctx, option.WithHTTPClient(&client))
	if err != nil {
		return nil, fmt.Errorf("preparing to ask the compute API: %w", err)
	}
	return service, nil
}

// bearer shows a token with each request. (That of oauth2 writes to the standard
// log when a request takes too long.)
type bearer struct {
	token string
	http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.RoundTripper.RoundTrip(r)
}

// region is the zone's name without its last part: europe-west12 of europe-west12-a.
func (p project) region() string {
	return strings.TrimSuffix(p.zone, "-"+lastPart(p.zone, "-"))
}

func lastPart(s, separator string) string { return s[strings.LastIndex(s, separator)+1:] }

// short leaves out the answer and the address that SDKs quote.
func short(err error) error {
	if refused, ok := errors.AsType[*googleapi.Error](err); ok {
		return fmt.Errorf("found status %d, want 200: %s", refused.Code, cmp.Or(refused.Message, "no reason given"))
	}
	if refused, ok := errors.AsType[*metadata.Error](err); ok {
		return fmt.Errorf("found status %d, want 200", refused.Code)
	}
	if _, ok := errors.AsType[metadata.NotDefinedError](err); ok {
		return fmt.Errorf("found status %d, want 200", http.StatusNotFound)
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return err
}

// node is an instance as the rest of us knows it.
func (p project) node(i *compute.Instance) cloud.Instance {
	zone := lastPart(i.Zone, "/")
	node := cloud.Instance{
		Name:       i.Name,
		ProviderID: "gce://" + p.name + "/" + zone + "/" + i.Name,
		Role:       cloud.ParseRole(p.marks.of(i)[cloud.RoleTag]),
	}
	for _, nic := range i.NetworkInterfaces {
		if nic != nil && nic.Name == "nic0" {
			node.VPCIP = nic.NetworkIP
		}
	}
	return node
}
