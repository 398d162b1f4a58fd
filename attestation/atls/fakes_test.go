package atls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
)

// machine issues and validates documents that are just what they bind.
type machine struct {
	mu     sync.Mutex
	issued [][]byte
	judged [][]byte
	// pad lengthens each document; fault, if set, is the answer to all calls.
	pad   int
	fault error
}

func (*machine) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (m *machine) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	document := append(bindingOf(userData, nonce), make([]byte, m.pad)...)
	m.issued = append(m.issued, document)
	return document, m.fault
}

func (m *machine) Validate(ctx context.Context, document, userData, nonce []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.judged = append(m.judged, document)
	if !bytes.HasPrefix(document, bindingOf(userData, nonce)) {
		return errUnbound
	}
	return m.fault
}

var (
	errUnbound = errors.New("document is bound to something else")
	errFault   = errors.New("measurement 15 differs")
)

func bindingOf(userData, nonce []byte) []byte { return fmt.Appendf(nil, "%x %x ", userData, nonce) }

// hanging does not answer before its context ends.
type hanging struct{ took chan time.Duration }

func (hanging) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (h hanging) Issue(ctx context.Context, _, _ []byte) ([]byte, error) {
	return nil, h.Validate(ctx, nil, nil, nil)
}

func (h hanging) Validate(ctx context.Context, _, _, _ []byte) error {
	start := time.Now()
	<-ctx.Done()
	h.took <- time.Since(start)
	return ctx.Err()
}

// pair is a connection over loopback.
func pair(t testing.TB) (ours, theirs net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	ours, err = net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	theirs, err = listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

// end is how a handshake ended for one side.
type end struct {
	conn net.Conn
	info credentials.AuthInfo
	err  error
}

// meet shakes hands over loopback. The client's end comes after it has tried to
// read, because only then does it know that the server took its certificate.
func meet(t testing.TB, dialing, serving credentials.TransportCredentials) (atClient, atServer end) {
	t.Helper()
	clientRaw, serverRaw := pair(t)
	ends := make(chan end, 1)
	go func() {
		conn, info, err := serving.ServerHandshake(serverRaw)
		if err == nil {
			_, err = conn.Write([]byte("."))
		}
		ends <- end{conn, info, err}
	}()
	conn, info, err := dialing.ClientHandshake(t.Context(), "dialed.example:9999", clientRaw)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if err != nil {
		_ = clientRaw.Close()
	}
	return end{conn, info, err}, <-ends
}
