package atls

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
)

func TestHandshake(t *testing.T) {
	for name, c := range map[string]struct{ clientAttests, serverAttests bool }{
		"nobody attests":     {false, false},
		"the server attests": {false, true},
		"the client attests": {true, false},
		"both attest":        {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			clientMachine, serverMachine := new(machine), new(machine)
			dialing := ClientCredentials(either(c.clientAttests, clientMachine), eitherPolicy(c.serverAttests, serverMachine))
			serving := ServerCredentials(either(c.serverAttests, serverMachine), eitherPolicy(c.clientAttests, clientMachine))
			for range 2 {
				atClient, atServer := meet(t, dialing, serving)
				require.NoError(t, atClient.err)
				require.NoError(t, atServer.err)
				assert.NoError(t, Refusal(dialing))
				for _, end := range []end{atClient, atServer} {
					info := end.info.(credentials.TLSInfo)
					assert.Equal(t, credentials.PrivacyAndIntegrity, info.SecurityLevel)
					assert.False(t, info.State.DidResume)
				}
			}
			assertFresh(t, clientMachine, c.clientAttests)
			assertFresh(t, serverMachine, c.serverAttests)
		})
	}
}

// assertFresh: of two connections each has a document of its own, and each of
// them has been judged.
func assertFresh(t *testing.T, m *machine, attested bool) {
	t.Helper()
	if !attested {
		assert.Empty(t, m.issued)
		return
	}
	require.Len(t, m.issued, 2)
	assert.NotEqual(t, m.issued[0][:64], m.issued[1][:64], "same key twice")
	assert.NotEqual(t, m.issued[0][65:129], m.issued[1][65:129], "same nonce twice")
	assert.Equal(t, m.issued, m.judged)
}

func either(attests bool, m *machine) attestation.Issuer {
	if attests {
		return m
	}
	return Unattested
}

func eitherPolicy(attests bool, m *machine) Policy {
	if attests {
		return Require(m)
	}
	return AcceptAnyPeer
}

func TestLargestDocument(t *testing.T) {
	m := &machine{pad: attestation.MaxDocument - 130}
	atClient, atServer := meet(t, ClientCredentials(m, Require(m)), ServerCredentials(m, Require(m)))
	require.NoError(t, atClient.err)
	require.NoError(t, atServer.err)
	assert.Len(t, m.issued[0], attestation.MaxDocument)
}

func TestPolicyRefusesPeer(t *testing.T) {
	good, bad := new(machine), &machine{fault: errFault}
	for name, c := range map[string]struct {
		peer   attestation.Issuer
		policy Policy
		want   error
		text   string
	}{
		"validator's refusal":             {new(machine), Require(bad), errFault, "peer refused: measurement 15 differs"},
		"not attested":                    {Unattested, Require(good), ErrNoDocument, "no attestation document"},
		"no validators":                   {good, Require(), ErrRefused, "want one of []"},
		"zero policy":                     {good, Policy{}, ErrRefused, "want one of []"},
		"no validators, and not attested": {Unattested, Require(), ErrNoDocument, ""},
	} {
		t.Run("server, "+name, func(t *testing.T) {
			dialing := ClientCredentials(Unattested, c.policy)
			atClient, atServer := meet(t, dialing, ServerCredentials(c.peer, AcceptAnyPeer))
			assertRefused(t, atClient.err, c.want, c.text)
			assert.Equal(t, Refusal(dialing).Error(), Refusal(dialing.Clone()).Error())
			assertRefused(t, Refusal(dialing), c.want, c.text)
			assert.Error(t, atServer.err)
			meet(t, dialing, ServerCredentials(c.peer, AcceptAnyPeer))
			assert.Error(t, Refusal(dialing))
		})
		t.Run("client, "+name, func(t *testing.T) {
			dialing := ClientCredentials(c.peer, AcceptAnyPeer)
			atClient, atServer := meet(t, dialing, ServerCredentials(Unattested, c.policy))
			assertRefused(t, atServer.err, c.want, c.text)
			assert.ErrorContains(t, atClient.err, "bad certificate")
			assert.NoError(t, Refusal(dialing), "it is the other side that refused")
		})
	}
}

func assertRefused(t *testing.T, err, want error, text string) {
	t.Helper()
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorIs(t, err, want)
	assert.ErrorContains(t, err, text)
}

func TestRefusalIsOfTheLastHandshake(t *testing.T) {
	m := &machine{fault: errFault}
	dialing := ClientCredentials(Unattested, Require(m))
	require.NoError(t, Refusal(dialing))
	serving := ServerCredentials(new(machine), AcceptAnyPeer)
	meet(t, dialing, serving)
	require.ErrorIs(t, Refusal(dialing), errFault)
	m.fault = nil
	meet(t, dialing, serving)
	assert.NoError(t, Refusal(dialing))
}

func TestIssuerFails(t *testing.T) {
	for name, c := range map[string]struct {
		self attestation.Issuer
		text string
	}{
		"error":             {&machine{fault: errFault}, "issuing our attestation document: measurement 15 differs"},
		"oversize document": {&machine{pad: attestation.MaxDocument - 129}, "issuer made 204801 bytes"},
		"empty document":    {emptyIssuer{attestation.QEMUVTPM}, "issuer made 0 bytes"},
		"unknown variant":   {emptyIssuer{"qemu-tdx"}, "unknown attestation variant"},
	} {
		t.Run("server, "+name, func(t *testing.T) {
			dialing := ClientCredentials(Unattested, Require(new(machine)))
			atClient, atServer := meet(t, dialing, ServerCredentials(c.self, AcceptAnyPeer))
			assert.ErrorContains(t, atServer.err, c.text)
			assert.Error(t, atClient.err)
			assert.NoError(t, Refusal(dialing))
		})
		t.Run("client, "+name, func(t *testing.T) {
			atClient, atServer := meet(t, ClientCredentials(c.self, AcceptAnyPeer), ServerCredentials(Unattested, Require(new(machine))))
			assert.ErrorContains(t, atClient.err, c.text)
			assert.Error(t, atServer.err)
		})
	}
}

type emptyIssuer struct{ variant attestation.Variant }

func (e emptyIssuer) Variant() attestation.Variant                        { return e.variant }
func (emptyIssuer) Issue(context.Context, []byte, []byte) ([]byte, error) { return nil, nil }

// A15
func TestHangingIssuerAndValidatorAreGivenUp(t *testing.T) {
	for name, credentialsOf := range map[string]func(hanging) (dialing, serving credentials.TransportCredentials){
		"server's issuer": func(h hanging) (credentials.TransportCredentials, credentials.TransportCredentials) {
			return ClientCredentials(Unattested, AcceptAnyPeer), ServerCredentials(h, AcceptAnyPeer)
		},
		"server's validator": func(h hanging) (credentials.TransportCredentials, credentials.TransportCredentials) {
			return ClientCredentials(new(machine), AcceptAnyPeer), ServerCredentials(Unattested, Require(h))
		},
		"client's issuer": func(h hanging) (credentials.TransportCredentials, credentials.TransportCredentials) {
			return ClientCredentials(h, AcceptAnyPeer), ServerCredentials(Unattested, Require(new(machine)))
		},
		"client's validator": func(h hanging) (credentials.TransportCredentials, credentials.TransportCredentials) {
			return ClientCredentials(Unattested, Require(h)), ServerCredentials(new(machine), AcceptAnyPeer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := hanging{make(chan time.Duration, 1)}
				clientRaw, serverRaw := net.Pipe()
				dialing, serving := credentialsOf(h)
				done := make(chan error, 2)
				go func() { _, _, err := serving.ServerHandshake(serverRaw); done <- err; serverRaw.Close() }()
				go func() {
					conn, _, err := dialing.ClientHandshake(t.Context(), "", clientRaw)
					if err == nil {
						_, err = conn.Read(make([]byte, 1))
					}
					done <- err
					clientRaw.Close()
				}()
				assert.Equal(t, Patience, <-h.took)
				assert.Error(t, <-done)
				assert.Error(t, <-done)
			})
		})
	}
}

func TestValidatorEndsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hanging{make(chan time.Duration, 1)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		clientRaw, serverRaw := net.Pipe()
		go func() {
			_, _, _ = ServerCredentials(new(machine), AcceptAnyPeer).ServerHandshake(serverRaw)
		}()
		_, _, err := ClientCredentials(Unattested, Require(h)).ClientHandshake(ctx, "", clientRaw)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, <-h.took)
	})
}

func TestWrongWayRound(t *testing.T) {
	raw, _ := pair(t)
	_, _, err := ServerCredentials(Unattested, AcceptAnyPeer).ClientHandshake(t.Context(), "", raw)
	assert.ErrorIs(t, err, errNotClient)
	_, _, err = ClientCredentials(Unattested, AcceptAnyPeer).ServerHandshake(raw)
	assert.ErrorIs(t, err, errNotServer)
}
