package rejoinclient

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A node that cannot attest itself gets nothing.
func TestUnattestedNodeIsRefused(t *testing.T) {
	endpoint := service(t, ticket(goodKey, goodSecret))
	r := offer(t, static{endpoint}, (&stateDisk{}).prove, func(c *Client) { c.issuer = forging{} })
	r.awaitLine(t, "Failed to rejoin on all endpoints")
	assert.True(t, contains(r.errorsOf(endpoint), "code = Unavailable"), r.errorsOf(endpoint))
}

// forging makes documents that are bound to nothing.
type forging struct{}

func (forging) Variant() attestation.Variant { return attestation.QEMUVTPM }

func (forging) Issue(context.Context, []byte, []byte) ([]byte, error) { return []byte("document"), nil }

// joins asks endpoints for a join ticket until one has been taken, or all have failed.
func joins(t *testing.T, issuer attestation.Issuer, take func(*joinproto.IssueJoinTicketResponse) error, endpoints ...string) (*observer.ObservedLogs, error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	core, logs := observer.New(zap.InfoLevel)
	log := zap.New(core, zap.Hooks(func(entry zapcore.Entry) error {
		if entry.Message == "Failed to join on all endpoints" {
			cancel(errGivenUp)
		}
		return nil
	}))
	client := New(issuer, atls.AcceptAnyPeer, log.Named("enroll"), static(endpoints))
	return logs, client.Join(ctx, &joinproto.IssueJoinTicketRequest{DiskUuid: testDisk.String()}, take)
}

var errGivenUp = errors.New("no ticket in a round")

func TestJoin(t *testing.T) {
	want := &joinproto.IssueJoinTicketResponse{
		StateDiskKey: goodKey, MeasurementSecret: goodSecret, MeasurementSalt: wrongKey,
		ControlPlaneFiles: []*joinproto.ControlPlaneCertOrKey{{Name: "ca.crt", Data: make([]byte, 100<<10)}},
	}
	var got *joinproto.IssueJoinTicketResponse
	var key []byte
	logs, err := joins(t, quoting{}, func(r *joinproto.IssueJoinTicketResponse) error {
		got, key = r, bytes.Clone(r.GetStateDiskKey())
		return nil
	}, joinService{join: want}.start(t))
	require.NoError(t, err)
	assert.Equal(t, goodKey, key)
	assert.Equal(t, make([]byte, keys.Size), got.GetStateDiskKey(), "cleared afterwards")
	assert.Equal(t, want.GetMeasurementSalt(), got.GetMeasurementSalt())
	assert.Len(t, got.GetControlPlaneFiles()[0].GetData(), 100<<10)
	var texts []string
	for _, line := range logs.All() {
		assert.Equal(t, "enroll", line.LoggerName)
		texts = append(texts, line.Message)
	}
	assert.Equal(t, []string{"Received list with JoinService endpoints", "Requesting join ticket", "Successfully retrieved join ticket"}, texts)
}

func TestJoinFails(t *testing.T) {
	for name, tc := range map[string]struct {
		issuer   attestation.Issuer
		endpoint string
		why      string
	}{
		"no ticket":    {quoting{}, joinService{}.start(t), "code = Internal desc = getting measurement secret"},
		"nobody there": {quoting{}, refusing(t), "connection refused"},
		"not attested": {atls.Unattested, joinService{}.start(t), "code = Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			logs, err := joins(t, tc.issuer, nil, tc.endpoint)
			require.ErrorIs(t, err, errGivenUp)
			lines := logs.FilterMessage("Failed to join on endpoint").All()
			require.NotEmpty(t, lines)
			assert.Contains(t, lines[0].ContextMap()["error"], tc.why)
		})
	}
	err := New(quoting{}, atls.AcceptAnyPeer, zap.NewNop()).Join(t.Context(), &joinproto.IssueJoinTicketRequest{DiskUuid: "measurementSecret"}, nil)
	require.ErrorIs(t, err, keys.ErrDiskID)
}

// Whoever is dead, silent or hands out half a ticket holds up no honest JoinService,
// and of several honest ones one ticket is taken.
func TestJoinAsksAllAtOnce(t *testing.T) {
	full := &joinproto.IssueJoinTicketResponse{StateDiskKey: goodKey, MeasurementSecret: goodSecret, MeasurementSalt: wrongKey}
	half := &joinproto.IssueJoinTicketResponse{StateDiskKey: goodKey}
	for name, others := range map[string][]string{
		"black holes": many(t, 100, blackHoleOn(t, [4]byte{})),
		"mute":        many(t, 100, muteOn(t, "0.0.0.0:0", make(chan struct{}, 1000))),
		"half":        many(t, 100, joinService{join: half}.startOn(t, "0.0.0.0:0")),
		"honest":      many(t, 100, joinService{join: full}.startOn(t, "0.0.0.0:0")),
	} {
		t.Run(name, func(t *testing.T) {
			taken := 0
			start := time.Now()
			_, err := joins(t, quoting{}, func(r *joinproto.IssueJoinTicketResponse) error {
				if len(r.GetMeasurementSalt()) == 0 {
					return keys.ErrLength
				}
				taken++
				return nil
			}, append(others, joinService{join: full}.start(t))...)
			require.NoError(t, err)
			assert.Equal(t, 1, taken)
			assert.Less(t, time.Since(start), production.answer) // one after the other, each that is mute takes that
		})
	}
}
