//go:build cgo

package main

import (
	"bytes"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/internal/logging"

	"github.com/google/go-tpm-tools/simulator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func noLog() ([]byte, error) { return nil, nil }

func missing(err error) error { return &fs.PathError{Op: "open", Path: "/dev/tpm0", Err: err} }

func TestTheTPMIsWaitedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		failures []error // of the attempts to open it; the last one lasts
		want     string
		lines    int
		waits    time.Duration
	}{
		"there at once":     {},
		"comes later":       {failures: []error{missing(unix.ENOENT), missing(unix.ENXIO), missing(unix.ENODEV), nil}, lines: 1, waits: 2 * pollInterval},
		"never comes":       {failures: []error{missing(unix.ENOENT)}, want: "no TPM appeared within 1m0s: open /dev/tpm0: no such file", lines: 1, waits: diskTimeout},
		"not ours to open":  {failures: []error{missing(unix.EPERM)}, want: "operation not permitted"},
		"comes, but broken": {failures: []error{missing(unix.ENOENT), missing(unix.EIO)}, want: "input/output error", lines: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var screen bytes.Buffer
				start := time.Now()
				_, err := awaitTPM(t.Context(), func() (*vtpm.TPM, error) {
					if len(tt.failures) == 0 {
						return nil, nil
					}
					failure := tt.failures[0]
					if len(tt.failures) > 1 {
						tt.failures = tt.failures[1:]
					}
					return nil, failure
				}, logging.New(&screen, 0))
				if tt.want != "" {
					require.ErrorContains(t, err, tt.want)
				} else {
					require.NoError(t, err)
				}
				assert.Equal(t, tt.waits, time.Since(start))
				assert.Equal(t, tt.lines, bytes.Count(screen.Bytes(), []byte(`"msg":"Waiting for the TPM"`)))
			})
		})
	}
}

// TestStartedTPM: in profile 2.1 nobody is answered with the PCR of the other
// profile at zero, and a second start in the same boot is as good as the first.
func TestStartedTPM(t *testing.T) {
	for name, tt := range map[string]struct {
		profile attestation.Profile
		spoiled bool
	}{
		"2.24": {attestation.Profile224, false},
		"2.1":  {attestation.Profile21, true},
	} {
		t.Run(name, func(t *testing.T) {
			sim, err := simulator.Get()
			require.NoError(t, err)
			defer sim.Close()
			var screen bytes.Buffer
			for range 2 {
				tpm, err := startTPM(t.Context(), func() (*vtpm.TPM, error) { return vtpm.New(sim, noLog), nil }, tt.profile.Binding, logging.New(&screen, 0))
				require.NoError(t, err)
				value, err := tpm.ReadPCR(t.Context(), attestation.Profile224.ClusterIDPCR)
				require.NoError(t, err)
				assert.Equal(t, tt.spoiled, !bytes.Equal(value, make([]byte, 32)))
				require.NoError(t, register{tpm, tt.profile.ClusterIDPCR}.ready(t.Context()))
			}
			assert.Empty(t, screen.String())
		})
	}
}
