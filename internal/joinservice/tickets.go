// Package joinservice hands nodes the keys of their state disks, all of them
// derived from the master secret of one cluster.
//
// Trust boundary: everything a node sends. A node gets keys only after its
// attestation was accepted, in the handshake, by the validator that Serve is
// given; the only keys it can name are those of state disks. The service does
// not know which disk belongs to which node, does not authenticate itself to
// nodes, and does nothing of the Kubernetes part of a join.
package joinservice

import (
	"bytes"
	"context"

	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Tickets answers the two RPCs of the published service.
type Tickets struct {
	joinproto.UnimplementedAPIServer
	master keys.MasterSecret
	salt   keys.MeasurementSalt
	log    *zap.Logger
}

// NewTickets derives keys from master. New nodes also get salt, which all
// nodes of a cluster share.
func NewTickets(master keys.MasterSecret, salt keys.MeasurementSalt, log *zap.Logger) *Tickets {
	return &Tickets{master: master, salt: salt, log: log}
}

// IssueJoinTicket gives a new node the keys of its disk and the measurement
// salt. The Kubernetes members of the response stay empty: whoever runs
// Kubernetes on the nodes fills them by other means.
func (t *Tickets) IssueJoinTicket(ctx context.Context, request *joinproto.IssueJoinTicketRequest) (*joinproto.IssueJoinTicketResponse, error) {
	pair, err := t.pair(request.GetDiskUuid(), joinTexts)
	t.record(ctx, "join", request.GetDiskUuid(), err)
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	return &joinproto.IssueJoinTicketResponse{
		StateDiskKey:      bytes.Clone(pair.Disk.Bytes()), // gRPC sends it after this call
		MeasurementSalt:   t.salt.Bytes(),
		MeasurementSecret: bytes.Clone(pair.Measurement.Bytes()),
	}, nil
}

// IssueRejoinTicket gives a restarted node the keys of its disk. The salt is
// on that disk.
func (t *Tickets) IssueRejoinTicket(ctx context.Context, request *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
	pair, err := t.pair(request.GetDiskUuid(), rejoinTexts)
	t.record(ctx, "rejoin", request.GetDiskUuid(), err)
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	return &joinproto.IssueRejoinTicketResponse{
		StateDiskKey:      bytes.Clone(pair.Disk.Bytes()), // gRPC sends it after this call
		MeasurementSecret: bytes.Clone(pair.Measurement.Bytes()),
	}, nil
}

// texts are the published beginnings of the error messages of one RPC.
type texts struct{ secret, key string }

var (
	joinTexts   = texts{"getting measurement secret", "getting key for stateful disk"}
	rejoinTexts = texts{"unable to get measurement secret", "unable to get key for stateful disk"}
)

func (t *Tickets) pair(diskUUID string, say texts) (keys.Pair, error) {
	disk, err := keys.ParseDiskID(diskUUID)
	if err != nil { // such a string would name another key of the cluster
		return keys.Pair{}, status.Errorf(codes.InvalidArgument, "%s: %v", say.key, err)
	}
	measurement, err := t.master.MeasurementSecret()
	if err != nil {
		return keys.Pair{}, status.Errorf(codes.Internal, "%s: %v", say.secret, err)
	}
	key, err := t.master.DiskKey(disk)
	if err != nil {
		measurement.Wipe()
		return keys.Pair{}, status.Errorf(codes.Internal, "%s: %v", say.key, err)
	}
	return keys.Pair{Disk: key, Measurement: measurement}, nil
}

// longestUUID is what a log line shows of a string that a node chose.
const longestUUID = 64

func (t *Tickets) record(ctx context.Context, ticket, diskUUID string, err error) {
	fields := []zap.Field{
		zap.String("ticket", ticket),
		zap.String("diskUUID", diskUUID[:min(len(diskUUID), longestUUID)]),
		zap.String("peer", peerAddress(ctx)),
	}
	if err != nil {
		t.log.Warn("Refused ticket", append(fields, zap.Error(err))...)
		return
	}
	t.log.Info("Issued ticket", fields...)
}

func peerAddress(ctx context.Context) string {
	if node, ok := peer.FromContext(ctx); ok {
		return node.Addr.String()
	}
	return ""
}
