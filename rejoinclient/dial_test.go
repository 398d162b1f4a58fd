package rejoinclient

import (
	"context"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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

func TestRequestJoin(t *testing.T) {
	want := &joinproto.IssueJoinTicketResponse{
		StateDiskKey: goodKey, MeasurementSecret: goodSecret, MeasurementSalt: wrongKey,
		ControlPlaneFiles: []*joinproto.ControlPlaneCertOrKey{{Name: "ca.crt", Data: make([]byte, 100<<10)}},
	}
	endpoint := joinService{join: want}.start(t)
	got, err := RequestJoin(t.Context(), endpoint, quoting{}, atls.AcceptAnyPeer, &joinproto.IssueJoinTicketRequest{DiskUuid: testDisk.String()})
	require.NoError(t, err)
	assert.Equal(t, want.GetStateDiskKey(), got.GetStateDiskKey())
	assert.Equal(t, want.GetMeasurementSalt(), got.GetMeasurementSalt())
	assert.Len(t, got.GetControlPlaneFiles()[0].GetData(), 100<<10)
}

func TestRequestJoinFails(t *testing.T) {
	request := &joinproto.IssueJoinTicketRequest{DiskUuid: testDisk.String()}
	_, err := RequestJoin(t.Context(), joinService{}.start(t), quoting{}, atls.AcceptAnyPeer, request)
	require.ErrorContains(t, err, "code = Internal desc = getting measurement secret")

	_, err = RequestJoin(t.Context(), refusing(t), quoting{}, atls.AcceptAnyPeer, request)
	require.ErrorContains(t, err, "connection refused")

	_, err = RequestJoin(t.Context(), joinService{}.start(t), atls.Unattested, atls.AcceptAnyPeer, request)
	require.ErrorContains(t, err, "code = Unavailable")

	_, err = RequestJoin(t.Context(), joinService{}.start(t), quoting{}, atls.AcceptAnyPeer, &joinproto.IssueJoinTicketRequest{DiskUuid: "measurementSecret"})
	require.ErrorIs(t, err, keys.ErrDiskID)
}
