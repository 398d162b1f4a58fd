package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"
	"disk-mapper/rejoinclient"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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

// TestTicketIsAskedForWithoutEnd: a node whose platform or cluster is not ready
// yet goes on asking, and says why.
func TestTicketIsAskedForWithoutEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		metadata metadata
		why      string
	}{
		"metadata down": {metadata{err: errBroken}, "broken"},
		"role unknown":  {metadata{role: cloud.Unknown}, "control-plane node or a worker"},
		"no endpoint":   {metadata{role: cloud.Worker}, "no endpoints"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				ctx, cancel := context.WithTimeoutCause(t.Context(), 58*time.Second, errBroken)
				defer cancel()
				_, err := registry{metadata: tc.metadata, sources: []rejoinclient.Endpoints{noEndpoints{}}, log: zap.New(core)}.ticket(ctx)
				assert.ErrorIs(t, err, errBroken)
				assert.Equal(t, 12, logs.FilterMessage("Failed to get a join ticket, trying again").Len())
				assert.Contains(t, logs.All()[0].ContextMap()["error"], tc.why)
			})
		})
	}
}

type noEndpoints struct{}

func (noEndpoints) JoinEndpoints(context.Context) ([]string, error) {
	return nil, errors.New("no endpoints")
}

func TestMountedFrom(t *testing.T) {
	assert.ErrorContains(t, mountedFrom(t.TempDir(), "/dev/null"), "is not mounted at")
	assert.ErrorContains(t, mountedFrom(t.TempDir(), "/dev/no-such-device"), "looking at /dev/no-such-device")
}

// listed is a source that knows these.
type listed []string

func (l listed) JoinEndpoints(context.Context) ([]string, error) { return l, nil }

func TestEachEndpointIsAskedOnce(t *testing.T) {
	sources := []rejoinclient.Endpoints{listed{"a", "b"}, noEndpoints{}, listed{"c", "a"}}
	endpoints, err := registry{sources: sources}.endpoints(t.Context())
	assert.Equal(t, []string{"a", "b", "c"}, endpoints)
	assert.Error(t, err, "the source that failed")
}
