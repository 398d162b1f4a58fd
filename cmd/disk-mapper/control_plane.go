package main

import (
	"context"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/setup"

	"go.uber.org/zap"
)

// roleTimeout is how long the recovery server waits to learn that it must not
// run. After that it runs: metadata that is down must not lock the operator out.
const (
	roleTimeout = 15 * time.Second
	rolePoll    = time.Second
)

type recoveryServer interface {
	setup.Source
	setup.Counter
}

// controlPlaneOnly keeps workers from opening a port.
type controlPlaneOnly struct {
	metadata cloud.Metadata
	server   recoveryServer
	log      *zap.Logger
}

func (c controlPlaneOnly) Offer(ctx context.Context, disk keys.DiskID, prove keys.Prove) error {
	role, err := c.role(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case role == cloud.Worker:
		c.log.Info("This node is a worker and opens no recovery port")
		return nil
	case role == cloud.Unknown:
		c.log.Warn("The role of this node is unknown, so the recovery server is started", zap.Error(err))
	}
	return c.server.Offer(ctx, disk, prove)
}

// Counts are those of the server.
func (c controlPlaneOnly) Counts() map[string]int { return c.server.Counts() }

// role asks until it gets an answer or roleTimeout is over.
func (c controlPlaneOnly) role(ctx context.Context) (cloud.Role, error) {
	ctx, cancel := context.WithTimeout(ctx, roleTimeout)
	defer cancel()
	poll := time.NewTicker(rolePoll)
	defer poll.Stop()
	for {
		self, selfErr := c.metadata.Self(ctx)
		if selfErr == nil {
			return self.Role, nil
		}
		select {
		case <-ctx.Done():
			return cloud.Unknown, selfErr
		case <-poll.C:
		}
	}
}
