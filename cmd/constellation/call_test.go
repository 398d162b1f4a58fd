package main

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func testCaller(t *testing.T, address string, nodes atls.Policy) caller {
	t.Helper()
	v := vectors["A"]
	master, err := keys.NewMasterSecret(unhex(t, v.key), unhex(t, v.salt))
	require.NoError(t, err)
	return caller{address: address, nodes: nodes, master: master, secretFile: "secret.json", pace: hurried}
}

// TestPush sorts what a network can do into the retry classes of the loop.
func TestPush(t *testing.T) {
	for name, tt := range map[string]struct {
		peer func(*net.TCPConn)
		want error  // errNotReady, errUnavailable or nil for a final failure
		says string // in the error
	}{
		"resets the connection": {func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)); _ = c.SetLinger(0) }, errNotReady, "connection reset by peer"},
		"never answers":         {func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }, errNotReady, "no node answers yet"},
		"closes the connection": {func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1<<20)) }, errUnavailable, "closed during the handshake"},
		"is an HTTP server":     {func(c *net.TCPConn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, nil, "is it the recovery port"},
		"is an SSH server":      {func(c *net.TCPConn) { _, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.6\r\n")) }, nil, "is it the recovery port"},
		"sends a TLS alert":     {alert(40), nil, "broke off the handshake"},
		"cannot attest itself":  {alert(80), nil, `leave the node powered on for that time`},
	} {
		t.Run(name, func(t *testing.T) {
			c := testCaller(t, listenRaw(t, tt.peer), atls.AcceptAnyPeer)
			c.pace.dial, c.pace.attempt = time.Hour, time.Hour // a slow machine does not decide
			if name == "never answers" {
				c.pace.dial = 300 * time.Millisecond
			}
			err := c.push(t.Context())
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, tt.want == errNotReady, errors.Is(err, errNotReady))
			assert.Equal(t, tt.want == errUnavailable, errors.Is(err, errUnavailable))
		})
	}
}

// TestCallBreaks: a node that vanishes in the middle of a call is unavailable.
func TestCallBreaks(t *testing.T) {
	for name, breakOff := range map[string]func(stream) error{
		"before the UUID": func(s stream) error { _, err := s.Recv(); return err },
		"after the key":   takeKey(vectors["A"].disk, make(chan receipt, 1), nil),
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			cut := &cuttable{Listener: listener}
			serveNode(t, cut, claimant("node"), func(s stream) error {
				err := breakOff(s)
				cut.conn.Close()
				<-s.Context().Done()
				return err
			})
			err = testCaller(t, listener.Addr().String(), atls.AcceptAnyPeer).push(t.Context())
			require.ErrorIs(t, err, errUnavailable)
		})
	}
}

// cuttable keeps its last connection.
type cuttable struct {
	net.Listener
	conn net.Conn
}

func (c *cuttable) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.conn = conn
	}
	return conn, err
}

func TestUnknownHost(t *testing.T) {
	c := testCaller(t, "no-such-host.invalid:9999", atls.AcceptAnyPeer)
	fault := dialFault{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "no-such-host.invalid", IsNotFound: true}}}
	err := c.explain(status.Error(codes.Unavailable, "connection error"), keys.DiskID{}, fault)
	assert.NotErrorIs(t, err, errUnavailable)
	assert.ErrorContains(t, err, "there is no host of this name: lookup no-such-host.invalid: no such host")
}

func TestAttestation(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes atls.Policy
		issue attestation.Issuer
		want  string
	}{
		"expected machine":   {atls.Require(believer("node")), claimant("node"), ""},
		"other machine":      {atls.Require(believer("node")), claimant("impostor"), errOtherMachine.Error()},
		"no document":        {atls.Require(believer("node")), atls.Unattested, "is not trusted and got no key"},
		"not asked for":      {atls.AcceptAnyPeer, claimant("impostor"), ""},
		"none and not asked": {atls.AcceptAnyPeer, atls.Unattested, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan receipt, 1)
			address := startNode(t, tt.issue, takeKey(vectors["A"].disk, got, nil))
			err := testCaller(t, address, tt.nodes).push(t.Context())
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, "is --compat that of its release?")
			assert.NotErrorIs(t, err, errUnavailable)
			assert.NotErrorIs(t, err, errNotReady)
			assert.Empty(t, got, "no key for a node that is not trusted")
		})
	}
}

// alert ends the handshake with a fatal alert of this number.
func alert(number byte) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, number})
		_, _ = io.Copy(io.Discard, c)
	}
}
