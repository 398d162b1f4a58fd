package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"
	"disk-mapper/rejoinclient"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
)

var errBroken = errors.New("broken")

// joining writes down what an enrolment does to the node.
type joining struct {
	steps []string
	fail  string
}

func (j *joining) step(name string) error {
	j.steps = append(j.steps, name)
	if name == j.fail {
		return errBroken
	}
	return nil
}

func (j *joining) Extend(context.Context, keys.ClusterID) error { return j.step("extend") }

func (j *joining) Enroll(_, _ keys.DiskKey, _ keys.MeasurementSalt) error { return j.step("header") }

func (j *joining) writeState(root, role string, _ keys.MeasurementSalt) error {
	return j.step("state " + root + " " + role)
}

func fullResponse() *joinproto.IssueJoinTicketResponse {
	return &joinproto.IssueJoinTicketResponse{
		StateDiskKey: make([]byte, 32), MeasurementSecret: make([]byte, 32), MeasurementSalt: make([]byte, 32),
	}
}

// TestEnrolmentOrder: the header is last, so that a power cut leaves a disk that
// is formatted again, or a complete one.
func TestEnrolmentOrder(t *testing.T) {
	all := []string{"extend", "state /run/state Worker", "header"}
	for name, tc := range map[string]struct {
		fail string
		want []string
	}{
		"good":         {"", all},
		"extend fails": {all[0], all[:1]},
		"state fails":  {all[1], all[:2]},
		"header fails": {all[2], all},
	} {
		t.Run(name, func(t *testing.T) {
			ticket, err := newTicket(fullResponse(), cloud.Worker)
			require.NoError(t, err)
			j := &joining{fail: tc.fail}
			err = enrolment{j, j, j.writeState}.run(t.Context(), keys.RandomDiskKey(), ticket)
			assert.Equal(t, tc.want, j.steps)
			assert.Equal(t, tc.fail != "", errors.Is(err, errBroken))
		})
	}
}

func TestTicketLengths(t *testing.T) {
	for name, change := range map[string]func(*joinproto.IssueJoinTicketResponse){
		"no key":      func(r *joinproto.IssueJoinTicketResponse) { r.StateDiskKey = nil },
		"long secret": func(r *joinproto.IssueJoinTicketResponse) { r.MeasurementSecret = make([]byte, 33) },
		"short salt":  func(r *joinproto.IssueJoinTicketResponse) { r.MeasurementSalt = make([]byte, 31) },
	} {
		t.Run(name, func(t *testing.T) {
			r := fullResponse()
			change(r)
			_, err := newTicket(r, cloud.Worker)
			assert.ErrorIs(t, err, keys.ErrLength)
		})
	}
}

// TestRoleIsAskedForWithoutEnd: a node whose platform is not ready yet goes on
// asking, and says why.
func TestRoleIsAskedForWithoutEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		metadata metadata
		why      string
	}{
		"metadata down": {metadata{answer: answer{err: errBroken}}, "broken"},
		"role unknown":  {metadata{answer: answer{role: cloud.Unknown}}, "control-plane node or a worker"},
		"hostile text":  {metadata{answer: answer{err: errors.New("\x1b[2J")}}, `\x1b[2J`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				ctx, cancel := context.WithTimeoutCause(t.Context(), 58*time.Second, errBroken)
				defer cancel()
				_, err := joinServices{metadata: tc.metadata, log: zap.New(core)}.ticket(ctx)
				assert.ErrorIs(t, err, errBroken)
				assert.Equal(t, 12, logs.FilterMessage("Failed to get a join ticket, trying again").Len())
				assert.Contains(t, logs.All()[0].ContextMap()["error"], tc.why)
			})
		})
	}
}

// TestJoinServicesAreAskedWithoutEnd: so does one that finds nobody to ask.
func TestJoinServicesAreAskedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		source := &counted{}
		client := rejoinclient.New(nil, atls.AcceptAnyPeer, zap.New(core), source)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errBroken)
		defer cancel()
		_, err := joinServices{metadata: metadata{answer: answer{role: cloud.Worker}}, client: client, disk: keys.NewDiskID(), log: zap.New(core)}.ticket(ctx)
		assert.ErrorIs(t, err, errBroken)
		assert.Greater(t, source.calls, 100)
		require.Equal(t, 1, logs.Len())
		assert.Equal(t, "no endpoints", logs.All()[0].ContextMap()["error"])
	})
}

// TestOnlyTicketsOfTheClusterAreTaken: a JoinService of another cluster that answers
// first keeps no node from its own.
func TestOnlyTicketsOfTheClusterAreTaken(t *testing.T) {
	for name, named := range map[string]bool{"the command line names the cluster": true, "it names none": false} {
		t.Run(name, func(t *testing.T) {
			refused := make(chan struct{})
			rogue := joinService(t, 2, func(context.Context) {})
			honest := joinService(t, 1, func(ctx context.Context) {
				select {
				case <-refused:
				case <-ctx.Done():
				}
			})
			want, err := newTicket(ticketOf(1), cloud.Worker)
			require.NoError(t, err)
			core, logs := observer.New(zap.WarnLevel)
			refuse := sync.OnceFunc(func() { close(refused) })
			log := zap.New(core, zap.Hooks(func(entry zapcore.Entry) error {
				if entry.Message == "Failed to join on endpoint" {
					refuse()
				}
				return nil
			}))
			j := joinServices{metadata: metadata{answer: answer{role: cloud.Worker}}, disk: keys.NewDiskID(), log: log}
			if named {
				j.cluster = want.clusterID
			}
			j.client = rejoinclient.New(nil, atls.AcceptAnyPeer, log, endpoints{rogue, honest})
			got, err := j.ticket(t.Context())
			require.NoError(t, err)
			assert.Equal(t, named, bytes.Equal(want.clusterID.Bytes(), got.clusterID.Bytes()))
			failures := logs.FilterMessage("Failed to join on endpoint")
			if !named {
				assert.Zero(t, failures.Len())
				return
			}
			require.NotZero(t, failures.Len())
			assert.Contains(t, failures.All()[0].ContextMap()["error"], "key and salt are those of cluster ")
		})
	}
}

type endpoints []string

func (e endpoints) JoinEndpoints(context.Context) ([]string, error) { return e, nil }

func ticketOf(secret byte) *joinproto.IssueJoinTicketResponse {
	r := fullResponse()
	r.MeasurementSecret = bytes.Repeat([]byte{secret}, keys.Size)
	return r
}

// joinService answers each question after wait.
func joinService(t *testing.T, secret byte, wait func(context.Context)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.Creds(atls.ServerCredentials(atls.Unattested, atls.AcceptAnyPeer)))
	joinproto.RegisterAPIServer(server, answering{secret: secret, wait: wait})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

type answering struct {
	joinproto.UnimplementedAPIServer
	secret byte
	wait   func(context.Context)
}

func (a answering) IssueJoinTicket(ctx context.Context, _ *joinproto.IssueJoinTicketRequest) (*joinproto.IssueJoinTicketResponse, error) {
	a.wait(ctx)
	return ticketOf(a.secret), nil
}

// counted is a source that knows nobody.
type counted struct{ calls int }

func (c *counted) JoinEndpoints(context.Context) ([]string, error) {
	c.calls++
	return nil, errors.New("no endpoints")
}

func TestMountedFrom(t *testing.T) {
	assert.ErrorContains(t, mountedFrom(t.TempDir(), "/dev/null"), "is not mounted at")
	assert.ErrorContains(t, mountedFrom(t.TempDir(), "/dev/no-such-device"), "looking at /dev/no-such-device")
}
