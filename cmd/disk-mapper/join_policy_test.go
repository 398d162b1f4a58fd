package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestWarningsAboutJoinServicesAreFew: each is written once, and not as many as
// somebody can make up.
func TestWarningsAboutJoinServicesAreFew(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	warn := warnOnce(zap.New(core))
	for i := range 1000 {
		warn(t.Context(), "measurement 9 differs")
		warn(t.Context(), fmt.Sprintf("measurement 8 differs: got %d", i))
	}
	lines := logs.FilterMessage("JoinService differs from the policy, not enforced").All()
	require.Len(t, lines, maxWarnings)
	for i, line := range lines {
		assert.Equal(t, i == maxWarnings-1, line.ContextMap()["last"])
	}
	assert.Equal(t, 1, logs.FilterField(zap.String("warning", "measurement 9 differs")).Len())
}

// TestJoinPolicy: no file is one warning, a broken one is an error, and the
// cluster-ID PCR alone is no policy, because it is not looked at.
func TestJoinPolicy(t *testing.T) {
	zero := strings.Repeat("0", 64)
	for name, tc := range map[string]struct {
		content string
		wantErr error
		warned  int
	}{
		"none":                      {"", nil, 1},
		"good":                      {`{"measurements": {"4": "` + zero + `", "15": "` + zero + `"}}`, nil, 0},
		"only the PCR of a cluster": {`{"measurements": {"15": "` + zero + `"}}`, verify.ErrPolicy, 0},
		"PCR 4 only warns":          {`{"measurements": {"4": {"expected": "` + zero + `", "warnOnly": true}, "9": "` + zero + `", "15": "` + zero + `"}}`, verify.ErrPolicy, 0},
		"a certain cluster":         {`{"measurements": {"4": "` + zero + `", "15": "` + strings.Repeat("f", 64) + `"}}`, nil, 0},
		"broken":                    {`{"measurements": `, verify.ErrPolicy, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "policy.json")
			if tc.content != "" {
				require.NoError(t, os.WriteFile(path, []byte(tc.content), 0o600))
			}
			core, logs := observer.New(zap.InfoLevel)
			_, err := joinPolicy(path, attestation.Profile224, zap.New(core))
			assert.ErrorIs(t, err, tc.wantErr)
			verified := logs.FilterMessage("JoinServices are verified")
			assert.Equal(t, err == nil && tc.warned == 0, verified.Len() == 1)
			for _, line := range verified.All() {
				assert.Contains(t, fmt.Sprint(line.ContextMap()["weaknesses"]), "any attestation key is accepted: on qemu-vtpm")
			}
			assert.Equal(t, tc.warned, logs.FilterMessage("JoinServices are not verified").Len())
		})
	}
	_, err := joinPolicy(t.TempDir(), attestation.Profile224, zap.NewNop())
	assert.ErrorContains(t, err, "policy for JoinServices: ")
}
