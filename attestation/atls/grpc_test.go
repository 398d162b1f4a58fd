package atls

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// TestGRPC: a caller learns in words why a call failed, and can tell a server
// that it must not trust from one that is not there.
func TestGRPC(t *testing.T) {
	good := new(machine)
	attested := serve(t, ServerCredentials(good, AcceptAnyPeer))
	cases := map[string]struct {
		address string
		creds   credentials.TransportCredentials
		want    codes.Code
		refusal error
		text    string
	}{
		"accepted": {attested, ClientCredentials(Unattested, Require(good)), codes.OK, nil, ""},
		"both attest": {serve(t, ServerCredentials(good, Require(good))), ClientCredentials(good, Require(good)),
			codes.OK, nil, ""},
		"server refused": {attested, ClientCredentials(Unattested, Require(&machine{fault: errFault})),
			codes.Unavailable, errFault, "authentication handshake failed: attested TLS: peer refused: measurement 15 differs"},
		"server is not attested": {serve(t, ServerCredentials(Unattested, AcceptAnyPeer)), ClientCredentials(Unattested, Require(good)),
			codes.Unavailable, ErrNoDocument, "certificate has no attestation document"},
		"refused by the server": {serve(t, ServerCredentials(Unattested, Require(&machine{fault: errFault}))), ClientCredentials(good, AcceptAnyPeer),
			codes.Unavailable, nil, "bad certificate"},
		"nobody there": {nobody(t), ClientCredentials(Unattested, Require(good)),
			codes.Unavailable, nil, "connection refused"},
		"something else there": {serve(t, nil), ClientCredentials(Unattested, Require(good)),
			codes.Unavailable, nil, "first record does not look like a TLS handshake"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := call(t, c.address, c.creds)
			assert.Equal(t, c.want, status.Code(err))
			assert.ErrorIs(t, Refusal(c.creds), c.refusal)
			if c.text != "" {
				assert.ErrorContains(t, err, c.text)
			}
			if c.refusal != nil {
				assert.ErrorIs(t, Refusal(c.creds), ErrRefused)
			}
		})
	}
}

// serve runs a server, in the clear if there are no credentials.
func serve(t *testing.T, creds credentials.TransportCredentials) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer(grpc.Creds(creds))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Stop()
		require.NoError(t, <-served)
	})
	return listener.Addr().String()
}

func nobody(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func call(t *testing.T, address string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	require.NoError(t, err)
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	return err
}
