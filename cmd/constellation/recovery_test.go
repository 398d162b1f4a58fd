package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	errAttestation = errors.New("untrusted measurement value 00 at index 4")
	errRefused     = fmt.Errorf("%w at HOST: connection refused", errUnavailable)
	errReset       = fmt.Errorf("%w at HOST: read tcp: connection reset by peer", errNotReady)
)

// script returns a push that fails with each error in turn, and from then on
// with the last one.
func script(outcomes ...error) func(context.Context) error {
	return func(context.Context) error {
		outcome := outcomes[0]
		outcomes = outcomes[min(1, len(outcomes)-1):]
		return outcome
	}
}

func TestRecoveryLoop(t *testing.T) {
	const none = "No control-plane nodes in need of recovery found. Exiting.\n"
	const pushed = "Pushed recovery key.\n"
	for name, tt := range map[string]struct {
		outcomes []error
		want     error
		out      string
		took     time.Duration
	}{
		"nobody there":                  {[]error{errRefused}, nil, none, 5 * time.Second},
		"one node, then nobody":         {[]error{nil, errRefused}, nil, pushed + "Recovered 1 control-plane nodes.\n", 5 * time.Second},
		"two nodes":                     {[]error{nil, nil, errRefused}, nil, pushed + pushed + "Recovered 2 control-plane nodes.\n", 5 * time.Second},
		"one more attempt for each":     {[]error{errRefused, nil, errRefused, nil, errRefused}, nil, pushed + pushed + "Recovered 2 control-plane nodes.\n", 15 * time.Second},
		"load balancer needs a minute":  {append(slices.Repeat([]error{errReset}, 12), nil, errRefused), nil, pushed + "Recovered 1 control-plane nodes.\n", 65 * time.Second},
		"load balancer needs an hour":   {append(slices.Repeat([]error{errReset}, 720), nil, errRefused), nil, pushed + "Recovered 1 control-plane nodes.\n", time.Hour + 5*time.Second},
		"not ready spends no attempt":   {[]error{errReset, errRefused, errReset, nil, errRefused}, nil, pushed + "Recovered 1 control-plane nodes.\n", 20 * time.Second},
		"load balancer never recovers":  {[]error{nil, errReset}, nil, pushed + "Recovered 1 control-plane nodes.\n", 3 * time.Minute},
		"wrong attestation":             {[]error{errAttestation}, errAttestation, "", 0},
		"wrong attestation of a second": {[]error{nil, errAttestation}, errAttestation, pushed + "Recovered 1 control-plane nodes.\n", 0},
		"wrong attestation at last":     {[]error{errRefused, errAttestation}, errAttestation, "", 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var out, notes bytes.Buffer
				err := recovery{push: script(tt.outcomes...), pace: operatorPace, out: &out, notes: &notes}.run(t.Context())
				require.ErrorIs(t, err, tt.want)
				assert.Equal(t, tt.out, out.String())
				assert.Equal(t, tt.took, time.Since(start))
			})
		})
	}
}

func TestInterrupted(t *testing.T) {
	for name, outcomes := range map[string][]error{
		"in a pause for a load balancer": {errReset},
		"in a pause after a success":     {nil, errRefused},
		"in an attempt":                  {errRefused, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const ctrlC = 2 * time.Second
				ctx, cancel := context.WithTimeout(t.Context(), ctrlC)
				defer cancel()
				start := time.Now()
				push := script(outcomes...)
				blocking := func(ctx context.Context) error {
					err := push(ctx)
					if errors.Is(err, context.Canceled) {
						<-ctx.Done()
					}
					return err
				}
				var out, notes bytes.Buffer
				speed := operatorPace
				if name == "in an attempt" {
					speed.pause = time.Second
				}
				err := recovery{push: blocking, pace: speed, out: &out, notes: &notes}.run(ctx)
				require.ErrorIs(t, err, errInterrupted)
				assert.Equal(t, ctrlC, time.Since(start), "ends at once")
			})
		})
	}
}

// TestNotes: the operator learns why nothing happens, once and not each time.
func TestNotes(t *testing.T) {
	const waiting = "no node answers yet at HOST: read tcp: connection reset by peer. Trying again every 5s, Ctrl-C ends.\n"
	for name, tt := range map[string]struct {
		outcomes []error
		want     string
	}{
		"load balancer":          {[]error{errReset, errReset, errReset, nil, errRefused}, waiting},
		"load balancer twice":    {[]error{errReset, errReset, nil, errReset, errReset, nil, errRefused}, waiting + waiting},
		"nobody there":           {[]error{errRefused}, "Last attempt: no node answers at HOST: connection refused\n"},
		"nobody left: no notice": {[]error{nil, errRefused}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out, notes bytes.Buffer
				require.NoError(t, recovery{push: script(tt.outcomes...), pace: operatorPace, out: &out, notes: &notes}.run(t.Context()))
				assert.Equal(t, tt.want, notes.String())
			})
		})
	}
}
