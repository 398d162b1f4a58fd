package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/setup"

	"github.com/stretchr/testify/assert"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// metadata answers Self as the cloud would; nothing else is asked of it.
type metadata struct {
	cloud.Metadata
	role cloud.Role
	err  error
}

func (m metadata) Self(context.Context) (cloud.Instance, error) {
	return cloud.Instance{Role: m.role}, m.err
}

// door is a recovery server that only notes that it was opened.
type door struct {
	setup.Counter
	opened bool
}

func (d *door) Offer(context.Context, keys.DiskID, keys.Prove) error { d.opened = true; return nil }

func TestOnlyWorkersOpenNoPort(t *testing.T) {
	for name, tc := range map[string]struct {
		metadata metadata
		want     bool
		warned   bool
	}{
		"control plane": {metadata{role: cloud.ControlPlane}, true, false},
		"worker":        {metadata{role: cloud.Worker}, false, false},
		"unknown role":  {metadata{role: cloud.Unknown}, true, true},
		"metadata down": {metadata{err: errors.New("down")}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				var d door
				err := controlPlaneOnly{tc.metadata, &d, zap.New(core)}.Offer(t.Context(), keys.DiskID{}, nil)
				assert.NoError(t, err)
				assert.Equal(t, tc.want, d.opened)
				assert.Equal(t, tc.warned, logs.Len() == 1)
			})
		})
	}
}

func TestMissingDiskIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := thisMachine.await(t.Context(), "/dev/no-such-disk", nil)
		assert.ErrorContains(t, err, "state disk /dev/no-such-disk did not appear within 1m0s; block devices here:")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = thisMachine.await(ctx, "/dev/no-such-disk", nil)
		assert.ErrorIs(t, err, context.Canceled)
	})
}
