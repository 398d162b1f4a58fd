package main

import (
	"context"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/setup"

	"go.uber.org/zap"
)

const (
	// roleTimeout is how long the recovery server waits to learn that it must not
	// run. After that it runs: metadata that is down must not lock the operator out.
	roleTimeout = 15 * time.Second
	rolePoll    = time.Second

	// workerAnswers is how many fresh answers in a row make a node a worker, and
	// workerPause what is between them. One answer may be that of a platform that is
	// about to find out.
	workerAnswers = 3
	workerPause   = 2 * time.Second
	// workerAgain is how often a worker asks whether it still is one.
	workerAgain = time.Minute
)

type recoveryServer interface {
	setup.Source
	setup.Counter
}

// controlPlaneOnly keeps workers from opening a port.
type controlPlaneOnly struct {
	metadata func() cloud.Metadata // a new one remembers nothing
	server   recoveryServer
	log      *zap.Logger
}

func (c controlPlaneOnly) Offer(ctx context.Context, disk keys.DiskID, prove keys.Prove) error {
	if !c.mayServe(ctx) {
		return nil
	}
	return c.server.Offer(ctx, disk, prove)
}

// mayServe returns at once if this node is a control-plane node, and when that is
// unknown, and of a worker only if it turns out to be something else: no answer of
// the platform is final while the disk is waiting. It returns false when ctx ends.
func (c controlPlaneOnly) mayServe(ctx context.Context) bool {
	for answers := 0; ; {
		switch role, err := c.role(ctx); {
		case ctx.Err() != nil:
			return false
		case role == cloud.ControlPlane:
			return true
		case role == cloud.Worker:
			if answers++; answers == workerAnswers {
				c.log.Info("This node is a worker and opens no recovery port")
			}
		case answers < workerAnswers: // a worker stays one while its platform says nothing
			c.log.Warn("The role of this node is unknown, so the recovery server is started", zap.Error(err))
			return true
		}
		pause := workerPause
		if answers >= workerAnswers {
			pause = workerAgain
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
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
		self, selfErr := c.metadata().Self(ctx)
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
