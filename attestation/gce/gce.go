// Package gce asks Google Compute Engine which attestation key an instance has.
//
// Trust boundary: Google's API is believed, by its TLS certificate. The metadata
// service is the host's; the worst that a false token does is a question that
// Google refuses to answer.
package gce

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/printable"
)

const (
	api         = "https://compute.googleapis.com"
	metadataURL = "http://169.254.169.254"
)

// Client implements verify.GCE. It needs the permission
// compute.instances.getShieldedInstanceIdentity.
type Client struct {
	http  *http.Client
	api   string
	token func(context.Context) (string, error)
}

// New returns a client that says who it is with a fixed access token or, if that
// is empty, with the token of the instance that it runs on. The HTTP client must
// bound the time and the length of answers.
func New(client *http.Client, token string) *Client {
	c := &Client{http: client, api: api, token: func(context.Context) (string, error) { return token, nil }}
	if token == "" {
		c.token = instanceToken{client, metadataURL}.get
	}
	return c
}

// ShieldedKey is the key that the instance's vTPM signs with.
func (c *Client) ShieldedKey(ctx context.Context, of instance.GCE) (crypto.PublicKey, error) {
	token, err := c.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("access token: %w", err)
	}
	where := c.api + "/compute/v1/projects/" + url.PathEscape(of.Project) + "/zones/" + url.PathEscape(of.Zone) +
		"/instances/" + url.PathEscape(of.Name) + "/getShieldedInstanceIdentity"
	var identity struct {
		SigningKey struct{ EKPub string }
	}
	if err := get(ctx, c.http, where, "Authorization", "Bearer "+token, &identity); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(identity.SigningKey.EKPub))
	if block == nil {
		return nil, errors.New("the instance has no signing key: its vTPM is switched off, or it has never run")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	return key, printable.Error(err)
}

// instanceToken is who this instance is to Google.
type instanceToken struct {
	http     *http.Client
	metadata string
}

func (t instanceToken) get(ctx context.Context) (string, error) {
	var answer struct {
		Token string `json:"access_token"`
	}
	where := t.metadata + "/computeMetadata/v1/instance/service-accounts/default/token"
	if err := get(ctx, t.http, where, "Metadata-Flavor", "Google", &answer); err != nil {
		return "", err
	}
	if answer.Token == "" {
		return "", errors.New("the metadata service answered without one")
	}
	return answer.Token, nil
}

// get decodes the one JSON value at where. No error has a header or an answer in
// it: they may be secret.
func get(ctx context.Context, client *http.Client, where, header, value string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	request.Header.Set(header, value)
	response, err := client.Do(request)
	if err != nil {
		return printable.Error(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered with status %d", request.URL.Host, response.StatusCode)
	}
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", request.URL.Host, printable.Error(err))
	}
	if json.Unmarshal(raw, into) != nil {
		return fmt.Errorf("%s answered with something else than was asked for", request.URL.Host)
	}
	return nil
}
