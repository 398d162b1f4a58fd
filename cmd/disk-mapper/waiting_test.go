package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/setup"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// answer is one of Self; after the last it is given again and again.
type answer struct {
	role cloud.Role
	err  error
}

// platformOf gives a new metadata for each question, which answers it once: who
// holds on to one would get the same answer for ever.
func platformOf(answers ...answer) func() cloud.Metadata {
	var asked int
	return func() cloud.Metadata {
		a := answers[min(asked, len(answers)-1)]
		asked++
		return metadata{answer: a}
	}
}

type metadata struct {
	cloud.Metadata
	answer
}

func (m metadata) Self(context.Context) (cloud.Instance, error) {
	return cloud.Instance{Role: m.role}, m.err
}

// door is a recovery server that only notes that it was opened.
type door struct {
	setup.Counter
	opened chan time.Time
}

func (d door) Offer(context.Context, keys.DiskID, keys.Prove) error {
	d.opened <- time.Now()
	return nil
}

const never = -1

// TestOnlyWorkersOpenNoPort also when the platform changes its mind: one answer that
// was wrong must not keep the operator out for the whole boot.
func TestOnlyWorkersOpenNoPort(t *testing.T) {
	var (
		controlPlane = answer{role: cloud.ControlPlane}
		worker       = answer{role: cloud.Worker}
		unknown      = answer{}
		down         = answer{err: errors.New("down")}
	)
	for name, tc := range map[string]struct {
		answers []answer
		within  time.Duration
		lines   []string
	}{
		"control plane":                {[]answer{controlPlane}, 0, nil},
		"worker":                       {[]answer{worker}, never, []string{"worker"}},
		"unknown role":                 {[]answer{unknown}, 0, []string{"unknown"}},
		"metadata down":                {[]answer{down}, roleTimeout, []string{"unknown"}},
		"worker once":                  {[]answer{worker, controlPlane}, workerPause, nil},
		"worker twice":                 {[]answer{worker, worker, controlPlane}, 2 * workerPause, nil},
		"worker once, then unknown":    {[]answer{worker, unknown}, workerPause, []string{"unknown"}},
		"worker once, then down":       {[]answer{worker, down}, workerPause + roleTimeout, []string{"unknown"}},
		"worker for long":              {[]answer{worker, worker, worker, worker, controlPlane}, 2*workerPause + 2*workerAgain, []string{"worker"}},
		"worker, then down":            {[]answer{worker, worker, worker, down}, never, []string{"worker"}},
		"worker, then unknown":         {[]answer{worker, worker, worker, unknown}, never, []string{"worker"}},
		"down, then worker, then none": {[]answer{down, worker, controlPlane}, rolePoll + workerPause, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.InfoLevel)
				d := door{opened: make(chan time.Time, 1)}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				require.NoError(t, controlPlaneOnly{platformOf(tc.answers...), d, zap.New(core)}.Offer(ctx, keys.DiskID{}, nil))
				if tc.within == never {
					assert.Empty(t, d.opened)
					assert.Equal(t, time.Hour, time.Since(began), "it goes on asking until the boot is over")
				} else if assert.NotEmpty(t, d.opened) {
					assert.Equal(t, tc.within, (<-d.opened).Sub(began))
				}
				require.Len(t, logs.All(), len(tc.lines))
				for i, line := range logs.All() {
					assert.Contains(t, line.Message, tc.lines[i])
				}
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
