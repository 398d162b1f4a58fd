package logging_test

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/logging"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

var callerLine = regexp.MustCompile(`logging_test\.go:\d+`)

// TestLineForm holds the line against the published one, byte for byte.
func TestLineForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble's clock starts at 2000-01-01
		var console bytes.Buffer
		here := time.Local
		t.Cleanup(func() { time.Local = here })
		time.Local = time.FixedZone("elsewhere", 5*3600)
		log := logging.New(&console, 0)

		log.Info("Starting disk-mapper", zap.String("version", "2.0.0"), zap.String("cloudProvider", "azure"))
		log.Named("recoveryServer").Named("gRPC").Warn("Failed", zap.Error(errors.New("a\nb\x1b[31m")), zap.Duration("took", 1500*time.Millisecond))

		want := `{"level":"INFO","ts":"2000-01-01T00:00:00Z","caller":"logging/HERE","msg":"Starting disk-mapper","version":"2.0.0","cloudProvider":"azure"}
{"level":"WARN","ts":"2000-01-01T00:00:00Z","logger":"recoveryServer.gRPC","caller":"logging/HERE","msg":"Failed","error":"a\nb\u001b[31m","took":"1.5s"}
`
		assert.Equal(t, want, callerLine.ReplaceAllString(console.String(), "HERE"))
	})
}

func TestVerbosity(t *testing.T) {
	for name, tt := range map[string]struct {
		verbosity int
		want      string
	}{
		"far below": {-100, "DEBUG INFO WARN ERROR"},
		"debug":     {-1, "DEBUG INFO WARN ERROR"},
		"default":   {0, "INFO WARN ERROR"},
		"warnings":  {1, "WARN ERROR"},
		"errors":    {2, "ERROR"},
		"far above": {300, "ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			var console bytes.Buffer
			log := logging.New(&console, tt.verbosity)
			log.Debug("m")
			log.Info("m")
			log.Warn("m")
			log.Error("m")

			levels := regexp.MustCompile(`"level":"([A-Z]+)"`).FindAllStringSubmatch(console.String(), -1)
			var got []string
			for _, level := range levels {
				got = append(got, level[1])
			}
			assert.Equal(t, tt.want, strings.Join(got, " "))
		})
	}
}

// TestConcurrentLines is for the race detector: the writer has no lock of its own.
func TestConcurrentLines(t *testing.T) {
	var console bytes.Buffer
	log := logging.New(&console, 0)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() { log.Info("m") })
	}
	writers.Wait()
	require.Equal(t, 8, strings.Count(console.String(), "\n"))
}
