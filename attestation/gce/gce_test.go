package gce

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/cloud"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	tokenPath = "/computeMetadata/v1/instance/service-accounts/default/token"
	keyPath   = "/compute/v1/projects/clusters/zones/europe-west3-b/instances/node-1/getShieldedInstanceIdentity"
)

// answers is both services at once: what to answer with by path. It refuses
// whoever does not say who he is.
type answers map[string]string

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, known := a[r.URL.Path]
	allowed := r.URL.Path == tokenPath && r.Header.Get("Metadata-Flavor") == "Google" ||
		r.URL.Path == keyPath && r.Header.Get("Authorization") == "Bearer ya29.secret"
	switch {
	case !known:
		http.NotFound(w, r)
	case !allowed || r.Method != http.MethodGet:
		http.Error(w, "no", http.StatusForbidden)
	default:
		_, _ = w.Write([]byte(answer)) // fails where the client has hung up
	}
}

func identity(t *testing.T, publicKey any) string {
	der, err := x509.MarshalPKIXPublicKey(publicKey)
	require.NoError(t, err)
	text, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	require.NoError(t, err)
	return `{"kind":"compute#shieldedInstanceIdentity","encryptionKey":{"ekPub":"x"},"signingKey":{"ekCert":"","ekPub":` + string(text) + `}}`
}

func TestShieldedKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	good := answers{tokenPath: `{"access_token":"ya29.secret","expires_in":3599,"token_type":"Bearer"}`, keyPath: identity(t, &key.PublicKey)}
	for name, c := range map[string]struct {
		token string // fixed
		path  string // answered otherwise
		with  string
		want  string // error; empty means the key
	}{
		"token of the instance": {},
		"fixed token":           {token: "ya29.secret", path: tokenPath, with: "{"},
		"wrong token":           {token: "ya29.other", want: "answered with status 403"},
		"no token":              {path: tokenPath, with: `{}`, want: "access token: the metadata service answered without one"},
		"token is garbage":      {path: tokenPath, with: `ya29.secret`, want: "access token: 127.0.0.1:"},
		"no such instance":      {path: keyPath, want: "answered with status 404"},
		"garbage":               {path: keyPath, with: "ya29.secret", want: "answered with something else"},
		"no key":                {path: keyPath, with: `{"signingKey":{}}`, want: "the instance has no signing key"},
		"key is garbage":        {path: keyPath, with: `{"signingKey":{"ekPub":"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}}`, want: "asn1"},
		"a body of 4 MiB":       {path: keyPath, with: strings.Repeat("a", 4<<20), want: "longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			now := answers{tokenPath: good[tokenPath], keyPath: good[keyPath]}
			if delete(now, c.path); c.with != "" {
				now[c.path] = c.with
			}
			server := httptest.NewServer(now)
			defer server.Close()
			client := New(cloud.NewHTTPClient(), c.token)
			client.api = server.URL
			if c.token == "" {
				client.token = instanceToken{client.http, server.URL}.get
			}
			got, err := client.ShieldedKey(t.Context(), instance.GCE{Project: "clusters", Zone: "europe-west3-b", Name: "node-1"})
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				assert.NotContains(t, err.Error(), "ya29", "an error with a token in it")
				return
			}
			require.NoError(t, err)
			assert.True(t, key.PublicKey.Equal(got))
		})
	}
}

func TestPathsStayInTheirPlace(t *testing.T) {
	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.URL.EscapedPath() }))
	defer server.Close()
	client := New(cloud.NewHTTPClient(), "ya29.secret")
	client.api = server.URL
	_, err := client.ShieldedKey(t.Context(), instance.GCE{Project: "../a", Zone: "b?c", Name: "d/e"})
	require.Error(t, err)
	assert.Equal(t, "/compute/v1/projects/..%2Fa/zones/b%3Fc/instances/d%2Fe/getShieldedInstanceIdentity", asked)
}
