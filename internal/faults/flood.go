package faults

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Flood opens connections at a rate, from one source after the other.
type Flood struct {
	Target  Target
	Silence Silence
	Sources []string
	Rate    int // per second
	Open    int // at most at a time: then the oldest is closed
}

// inFlight bounds connections that are being opened.
const inFlight = 512

const tick = 5 * time.Millisecond

// Run floods until ctx ends. It returns how many connections were tried and how
// many came up.
func (f Flood) Run(ctx context.Context) (tried, up int) {
	var came atomic.Int64
	held := make(chan net.Conn, f.Open)
	turns := make(chan struct{}, inFlight)
	var opening sync.WaitGroup
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for start := time.Now(); ctx.Err() == nil; <-ticks.C {
		for due := int(time.Since(start).Seconds() * float64(f.Rate)); tried < due && ctx.Err() == nil; tried++ {
			source := f.Sources[tried%len(f.Sources)]
			turns <- struct{}{}
			opening.Go(func() {
				defer func() { <-turns }()
				if conn, err := f.Silence.Hold(ctx, f.Target, source); err == nil {
					came.Add(1)
					keep(held, conn)
				}
			})
		}
	}
	opening.Wait()
	close(held)
	for conn := range held {
		_ = conn.Close()
	}
	return tried, int(came.Load())
}

func keep(held chan net.Conn, conn net.Conn) {
	for {
		select {
		case held <- conn:
			return
		default:
		}
		select {
		case oldest := <-held:
			_ = oldest.Close()
		default:
		}
	}
}
