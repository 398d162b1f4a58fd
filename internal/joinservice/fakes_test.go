package joinservice_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/joinservice"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/logging"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// claim is a document without a TPM: it proves nothing, but is fresh or not.
type claim struct {
	UserData, Nonce []byte
	Machine         string
}

// claimant issues claims of one machine.
type claimant string

func (claimant) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (c claimant) Issue(_ context.Context, userData, nonce []byte) ([]byte, error) {
	return json.Marshal(claim{userData, nonce, string(c)})
}

var errOtherMachine = errors.New("untrusted measurement value 00 at index 4")

// believer accepts the claims of one machine.
type believer string

func (believer) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (b believer) Validate(_ context.Context, document, userData, nonce []byte) error {
	var got claim
	if err := json.Unmarshal(document, &got); err != nil {
		return err
	}
	if !bytes.Equal(got.UserData, userData) || !bytes.Equal(got.Nonce, nonce) || got.Machine != string(b) {
		return errOtherMachine
	}
	return nil
}

// console keeps what is logged; its lines channel gets each line as well.
type console struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan string
}

func newConsole() *console { return &console{lines: make(chan string, 1000)} }

func (c *console) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines != nil {
		c.lines <- string(line)
	}
	return c.text.Write(line)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// next waits for a line that has text.
func (c *console) next(t *testing.T, text string) string {
	t.Helper()
	for {
		select {
		case line := <-c.lines:
			if bytes.Contains([]byte(line), []byte(text)) {
				return line
			}
		case <-t.Context().Done():
			t.Fatalf("no line with %q in:\n%s", text, c)
		}
	}
}

// service is a JoinService on loopback.
type service struct {
	address string
	console *console
	stop    context.CancelFunc
	ended   <-chan error
}

func start(t *testing.T, master keys.MasterSecret, nodes attestation.Validator) service {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	screen := newConsole()
	log := logging.New(screen, -1).Named("joinService")
	tickets := joinservice.NewTickets(master, testSalt(t), log)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- joinservice.Serve(ctx, listener, tickets, atls.Unattested, nodes, log); close(ended) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	return service{address: listener.Addr().String(), console: screen, stop: stop, ended: ended}
}

func dial(t *testing.T, address string, node attestation.Issuer) joinproto.APIClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(atls.ClientCredentials(node, atls.AcceptAnyPeer)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return joinproto.NewAPIClient(conn)
}
