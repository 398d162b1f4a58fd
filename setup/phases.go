package setup

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// phases are the parts of a boot and how long each took, in their order.
type phases struct {
	began time.Time
	ended []phase
}

type phase struct {
	name    string
	seconds float64
}

func beginPhases() *phases { return &phases{began: time.Now()} }

// end ends the phase that runs, and begins the next.
func (p *phases) end(name string) {
	now := time.Now()
	p.ended = append(p.ended, phase{name + "Seconds", math.Round(now.Sub(p.began).Seconds()*1000) / 1000})
	p.began = now
}

func (p *phases) fields() (fields []zap.Field) {
	for _, e := range p.ended {
		fields = append(fields, zap.Float64(e.name, e.seconds))
	}
	return fields
}

// ready is the last line of setup. The booted system finds the same in a
// file; that it cannot be written is no reason to fail.
func (b Boot) ready(p *phases) {
	b.Log.Info("State disk is ready", p.fields()...)
	if err := b.Handover.savePhases(p); err != nil {
		b.Log.Warn("Failed to leave the times of this boot", zap.Error(err))
	}
}

const phasesFile = "run/disk-mapper/phases.json"

// savePhases leaves one JSON object, seconds by name.
func (h Handover) savePhases(p *phases) error {
	seconds := map[string]float64{}
	for _, e := range p.ended {
		seconds[e.name] = e.seconds
	}
	raw, err := json.Marshal(seconds)
	if err != nil {
		return fmt.Errorf("encoding the times of this boot: %w", err)
	}
	path := filepath.Join(h.Root, phasesFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}
