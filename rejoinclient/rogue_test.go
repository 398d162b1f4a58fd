package rejoinclient

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/fairlistener"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// otherImage judges that a JoinService runs something else.
type otherImage struct{ quoting }

func (otherImage) Validate(context.Context, []byte, []byte, []byte) error {
	return errors.New("measurement 4 differs: expected 00, got 04")
}

// counting counts the documents that the node makes.
type counting struct {
	quoting
	made *atomic.Int32
}

func (c counting) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	c.made.Add(1)
	return c.quoting.Issue(ctx, userData, nonce)
}

// R5: with a policy, a JoinService without attestation, or of another image, is
// refused before this node has attested itself, and said so.
func TestR5RogueJoinServices(t *testing.T) {
	for name, tc := range map[string]struct {
		self   attestation.Issuer
		policy atls.Policy
		why    string
	}{
		"not attested": {atls.Unattested, atls.Require(quoting{}), "certificate has no attestation document"},
		"other image":  {quoting{}, atls.Require(otherImage{}), "measurement 4 differs"},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint := joinService{self: tc.self, rejoin: ticket(goodKey, goodSecret)}.start(t)
			var made atomic.Int32
			r := offer(t, static{endpoint}, (&stateDisk{}).prove, func(c *Client) { c.server, c.issuer = tc.policy, counting{made: &made} })
			r.awaitLine(t, "Failed to rejoin on all endpoints")
			assert.True(t, contains(r.errorsOf(endpoint), tc.why), r.errorsOf(endpoint))
			assert.Zero(t, made.Load())
		})
	}
}

func TestAttestedJoinServiceIsAccepted(t *testing.T) {
	rogue := service(t, ticket(goodKey, goodSecret))
	good := joinService{self: quoting{}, rejoin: ticket(goodKey, goodSecret)}.start(t)
	var disk stateDisk
	r := offer(t, static{rogue, good}, disk.prove, func(c *Client) { c.server = atls.Require(quoting{}) })
	r.mustEnd(t)
	disk.assertWon(t)
	assert.NotEqual(t, rogue, r.logs.FilterMessage("Successfully retrieved rejoin ticket").All()[0].ContextMap()["endpoint"])
}

// TestEndpointsAreJudgedByNetwork: those who are asked about them take networks in turns.
func TestEndpointsAreJudgedByNetwork(t *testing.T) {
	good := joinService{self: quoting{}, rejoin: ticket(goodKey, goodSecret)}.start(t)
	judged := make(chan fairlistener.Network, 1)
	offer(t, static{good}, (&stateDisk{}).prove, func(c *Client) { c.server = atls.Require(judgedFor{judged: judged}) }).mustEnd(t)
	assert.Equal(t, fairlistener.NetworkOf(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}), <-judged)
}

// judgedFor tells for which network it works.
type judgedFor struct {
	quoting
	judged chan fairlistener.Network
}

func (j judgedFor) Validate(ctx context.Context, document, userData, nonce []byte) error {
	j.judged <- fairlistener.NetworkOfWork(ctx)
	return j.quoting.Validate(ctx, document, userData, nonce)
}

// R7: a server that dies in the middle of its answer.
func TestR7ServerDiesMidAnswer(t *testing.T) {
	var calls atomic.Int32
	var kill func()
	dying := joinService{rejoin: func(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		if calls.Add(1) == 1 {
			kill()
			<-ctx.Done()
		}
		return ticket(goodKey, goodSecret)(ctx, request)
	}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cut := &cutting{Listener: listener}
	kill = cut.cut
	endpoint := dying.serve(t, cut)
	var disk stateDisk
	r := offer(t, static{endpoint}, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
	assert.True(t, contains(r.errorsOf(endpoint), "code = Unavailable"), r.errorsOf(endpoint))
}

// cutting can cut all connections.
type cutting struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cutting) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// R10: a server that says goodbye to each connection gets one attestation for
// each attempt, not as many as fit into its time.
func TestR10GoodbyeToEveryConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var connections atomic.Int32
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			serving.Go(func() { sayGoodbye(conn) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	endpoint := listener.Addr().String()
	var made atomic.Int32
	r := offer(t, static{endpoint}, (&stateDisk{}).prove, func(c *Client) { c.issuer = counting{made: &made} })
	require.Eventually(t, func() bool { return r.client.Counts()["attempts"] >= 5 }, productionAnswer, pollTime)
	r.cancel()
	r.mustEnd(t)
	attempts := int32(r.client.Counts()["attempts"])
	assert.LessOrEqual(t, connections.Load(), attempts)
	assert.LessOrEqual(t, made.Load(), attempts)
	assert.NotZero(t, made.Load())
}

func sayGoodbye(raw net.Conn) {
	defer raw.Close()
	conn, _, err := atls.ServerCredentials(atls.Unattested, atls.Require(quoting{})).ServerHandshake(raw)
	if err != nil {
		return
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := conn.Read(preface); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	_ = framer.WriteGoAway(0, http2.ErrCodeNo, nil)
	for {
		if _, err := framer.ReadFrame(); err != nil {
			return
		}
	}
}

// R11: an endpoint that leads back to this node, which serves nobody yet, is one
// that refuses connections.
func TestR11TheNodeItself(t *testing.T) {
	itself := refusing(t)
	var disk stateDisk
	r := offer(t, static{itself, service(t, ticket(goodKey, goodSecret))}, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
}

// A TCP socket can connect to itself, when the port of the endpoint happens to be
// the one that it dials from.
func TestR11ConnectionToItself(t *testing.T) {
	endpoint := refusing(t)
	local, err := net.ResolveTCPAddr("tcp", endpoint)
	require.NoError(t, err)
	conn, err := (&net.Dialer{LocalAddr: local}).DialContext(t.Context(), "tcp", endpoint)
	require.NoError(t, err)
	require.ErrorIs(t, notItself(conn), errItself)
}
