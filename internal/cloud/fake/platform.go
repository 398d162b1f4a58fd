// Package fake imitates the HTTP services of platforms for the tests of their
// clients: plain and TLS, under their real names, on loopback. No program may
// import it.
package fake

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Routes are the calls that a platform permits: by the name of the permission, the
// pattern of the call as in http.ServeMux, its host included.
type Routes map[string]string

// Platform answers the calls that it permits. Any other fails the test.
type Platform struct {
	*Script // by permission
	t       testing.TB
}

// Start makes client, one of cloud.NewHTTPClient, reach a new platform wherever it
// goes. The platform answers with status 404 until it is told what to say.
func Start(t testing.TB, client *http.Client, routes Routes) *Platform {
	p := &Platform{NewScript(map[string]http.HandlerFunc{}), t}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a call that is not permitted: %s %s%s", r.Method, r.Host, r.URL)
		w.WriteHeader(http.StatusForbidden)
	})
	hosts := []string{}
	for permission, pattern := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { p.answer(permission, w, r) })
		hosts = append(hosts, strings.Split(strings.Fields(pattern)[1], "/")[0])
	}
	plain, secure := httptest.NewServer(mux), httptest.NewUnstartedServer(mux)
	certificate, roots := identity(t, hosts)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	secure.StartTLS()
	for _, server := range []*httptest.Server{plain, secure} {
		t.Cleanup(server.Close)
		t.Cleanup(server.CloseClientConnections)
	}
	p.divert(client, roots, map[string]string{"80": plain.Listener.Addr().String(), "443": secure.Listener.Addr().String()})
	return p
}

// divert changes nothing of client but where its connections end.
func (p *Platform) divert(client *http.Client, roots *x509.CertPool, listeners map[string]string) {
	transport := reflect.ValueOf(client.Transport).FieldByName("RoundTripper").Interface().(*http.Transport)
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil || listeners[port] == "" {
			p.t.Errorf("a connection to %s, want port 80 or 443", address)
			return nil, fmt.Errorf("nobody is at %s", address)
		}
		return new(net.Dialer).DialContext(ctx, "tcp", listeners[port])
	}
}

func (p *Platform) answer(permission string, w http.ResponseWriter, r *http.Request) {
	answer := p.Take(permission)
	if answer == nil {
		answer = http.NotFound
	}
	answer(w, r)
}

// AsAPI is answer for those who show the token of testdata over TLS.
func AsAPI(t testing.TB, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		assert.NotNil(t, r.TLS)
		assert.Equal(t, "Bearer fake-token", r.Header.Get("Authorization"))
		answer(w, r)
	}
}

func identity(t testing.TB, hosts []string) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: hosts, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, roots
}
