package rejoinclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/faults"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	goodKey     = bytes.Repeat([]byte{1}, keys.Size)
	wrongKey    = bytes.Repeat([]byte{2}, keys.Size)
	goodSecret  = bytes.Repeat([]byte{3}, keys.Size)
	testDisk, _ = keys.ParseDiskID("12345678-90ab-cdef-1234-567890abcdef")
)

// stateDisk opens with goodKey and takes one winner, as setup does.
type stateDisk struct {
	mu  sync.Mutex
	won [][]byte
}

func (d *stateDisk) prove(_ context.Context, candidate keys.Pair) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.won != nil:
		return keys.ErrDecided
	case !bytes.Equal(candidate.Disk.Bytes(), goodKey):
		return keys.ErrWrongKey
	}
	d.won = [][]byte{bytes.Clone(candidate.Disk.Bytes()), bytes.Clone(candidate.Measurement.Bytes())}
	return nil
}

func (d *stateDisk) assertWon(t *testing.T) {
	t.Helper()
	assert.Equal(t, [][]byte{goodKey, goodSecret}, d.won)
}

// quoting is an issuer and validator whose documents are what they bind.
type quoting struct{}

func (quoting) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (quoting) Issue(_ context.Context, userData, nonce []byte) ([]byte, error) {
	return append(bytes.Clone(userData), nonce...), nil
}

func (q quoting) Validate(ctx context.Context, document, userData, nonce []byte) error {
	want, _ := q.Issue(ctx, userData, nonce)
	if !bytes.Equal(document, want) {
		return errors.New("not the document of this connection")
	}
	return nil
}

// answer is how a JoinService under test reacts to a rejoin request.
type answer func(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error)

func ticket(key, secret []byte) answer {
	return func(context.Context, *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		return &joinproto.IssueRejoinTicketResponse{StateDiskKey: key, MeasurementSecret: secret}, nil
	}
}

func refusal(code codes.Code) answer {
	return func(context.Context, *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		return nil, status.Error(code, "no ticket")
	}
}

// silent says that it was asked, and answers when its caller has gone.
func silent(asked, gone chan<- struct{}) answer {
	return func(ctx context.Context, _ *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
		asked <- struct{}{}
		<-ctx.Done()
		gone <- struct{}{}
		return nil, ctx.Err()
	}
}

type joinService struct {
	self attestation.Issuer
	joinproto.UnimplementedAPIServer
	rejoin answer
	join   *joinproto.IssueJoinTicketResponse
}

func (s joinService) IssueRejoinTicket(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
	return s.rejoin(ctx, request)
}

func (s joinService) IssueJoinTicket(_ context.Context, _ *joinproto.IssueJoinTicketRequest) (*joinproto.IssueJoinTicketResponse, error) {
	if s.join == nil {
		return nil, status.Error(codes.Internal, "getting measurement secret")
	}
	return s.join, nil
}

// start serves on loopback, to attested nodes only, and returns the endpoint.
func (s joinService) start(t testing.TB) string {
	t.Helper()
	return s.startOn(t, "127.0.0.1:0")
}

func portOf(t testing.TB, endpoint string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(endpoint)
	require.NoError(t, err)
	return port
}

func (s joinService) startOn(t testing.TB, address string) string {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	return s.serve(t, listener)
}

func (s joinService) serve(t testing.TB, listener net.Listener) string {
	t.Helper()
	self := s.self
	if self == nil {
		self = atls.Unattested // as JoinServices of v2.x
	}
	server := grpc.NewServer(
		grpc.Creds(atls.ServerCredentials(self, atls.Require(quoting{}))), grpc.MaxHeaderListSize(32<<20))
	joinproto.RegisterAPIServer(server, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return listener.Addr().String()
}

func service(t testing.TB, rejoin answer) string {
	t.Helper()
	return joinService{rejoin: rejoin}.start(t)
}

// refusing is an endpoint where nobody listens.
func refusing(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

// mute is an endpoint that accepts TCP connections and says nothing.
func mute(t testing.TB, accepted chan<- struct{}) string {
	t.Helper()
	return muteOn(t, "127.0.0.1:0", accepted)
}

func muteOn(t testing.TB, address string, accepted chan<- struct{}) string {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			accepting.Go(func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); accepting.Wait() })
	return listener.Addr().String()
}

// blackHole is an endpoint that does not answer to SYN: its backlog is full.
func blackHole(t testing.TB) string {
	t.Helper()
	return blackHoleOn(t, [4]byte{127, 0, 0, 1})
}

func blackHoleOn(t testing.TB, ip [4]byte) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: ip}))
	require.NoError(t, syscall.Listen(fd, 0))
	bound, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: bound.(*syscall.SockaddrInet4).Port}).String()
	first, err := net.Dial("tcp", address) // fills the queue, however long it takes
	require.NoError(t, err)
	t.Cleanup(func() { _ = first.Close() })
	for {
		conn, err := net.DialTimeout("tcp", address, 50*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// awaitDial waits until a connection to the endpoint is being made.
func awaitDial(t *testing.T, endpoint string) {
	t.Helper()
	const synSent = " 02 "
	_, port, err := net.SplitHostPort(endpoint)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	remote := fmt.Sprintf(" 0100007F:%04X", number)
	require.Eventually(t, func() bool {
		table, err := os.ReadFile("/proc/net/tcp")
		return err == nil && strings.Contains(string(table), remote+synSent)
	}, 5*time.Second, time.Millisecond)
}

// static is where JoinServices are said to be.
type static []string

func (l static) JoinEndpoints(context.Context) ([]string, error) { return l, nil }

// run is an Offer under test.
type run struct {
	client *Client
	logs   *observer.ObservedLogs
	cancel context.CancelFunc
	ended  chan error
}

// offer ends with the test, and fails it if goroutines are left behind.
func offer(t *testing.T, endpoints Endpoints, prove keys.Prove, changes ...func(*Client)) *run {
	t.Helper()
	before := openFiles(t, os.Getpid())
	core, logs := observer.New(zap.DebugLevel)
	client := New(quoting{}, atls.AcceptAnyPeer, zap.New(core), endpoints)
	client.times.pause = time.Millisecond
	for _, change := range changes {
		change(client)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &run{client: client, logs: logs, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- client.Offer(ctx, testDisk, prove) }()
	t.Cleanup(func() {
		cancel()
		r.mustEnd(t)
		assertNoLeak(t, before)
	})
	return r
}

// assertNoLeak holds once no goroutine asks any more and no descriptor is open
// that was not before.
func assertNoLeak(t *testing.T, before int) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	assert.Eventually(t, func() bool {
		all := string(stacks[:runtime.Stack(stacks, true)])
		for _, part := range []string{"rejoinclient.(*wait)", "rejoinclient.(*Client)", "grpc.(*addrConn)", "transport.(*http2Client)"} {
			if strings.Contains(all, part) {
				return false
			}
		}
		open, err := faults.OpenFiles(os.Getpid())
		return err == nil && open <= before
	}, 5*time.Second, 5*time.Millisecond, "goroutines or descriptors outlive Offer")
}

func openFiles(t testing.TB, pid int) int {
	t.Helper()
	open, err := faults.OpenFiles(pid)
	require.NoError(t, err)
	return open
}

// mustEnd waits for the end of Offer. It can be called again.
func (r *run) mustEnd(t *testing.T) {
	t.Helper()
	select {
	case err := <-r.ended:
		require.NoError(t, err)
		r.ended <- nil
	case <-time.After(20 * time.Second):
		t.Fatal("Offer does not return")
	}
}

// errorsOf lists what was logged about an endpoint, in order.
func (r *run) errorsOf(endpoint string) []string {
	var texts []string
	for _, line := range r.logs.FilterMessage("Failed to rejoin on endpoint").FilterField(zap.String("endpoint", endpoint)).All() {
		texts = append(texts, line.ContextMap()["error"].(string))
	}
	return texts
}

// awaitLine waits until a line with message has been logged. Lines come from
// another goroutine that offers nothing to wait on.
func (r *run) awaitLine(t *testing.T, message string) {
	t.Helper()
	require.Eventually(t, func() bool { return r.logs.FilterMessage(message).Len() > 0 }, 20*time.Second, time.Millisecond)
}

func contains(texts []string, part string) bool {
	for _, text := range texts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
