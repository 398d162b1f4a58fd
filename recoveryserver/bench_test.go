package recoveryserver

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"disk-mapper/internal/faults"
	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	crowd        = 500                   // hostile connections
	endGoal      = 2 * time.Second       // of Offer, after the key
	callGoal     = 2 * time.Second       // 99 of 100 calls
	quoteTime    = 12 * time.Millisecond // of a TPM in software; see BenchmarkHandshake in attestation/vtpm
	maxRSS       = 128                   // MiB
	maxFiles     = 512
	floodDefault = 10 * time.Second // FLOOD=60s for longer
)

// BenchmarkEnd is the time from the proof of the key to the end of Offer.
func BenchmarkEnd(b *testing.B) {
	none := faults.Silence{Name: "nobody"}
	for _, silence := range append([]faults.Silence{none}, faults.Silences...) {
		b.Run(silence.Name, func(b *testing.B) {
			var worst time.Duration
			for range b.N {
				worst = max(worst, timeToEnd(b, silence))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(worst.Seconds(), "s-worst")
			if worst > endGoal {
				b.Errorf("%v, want at most %v", worst, endGoal)
			}
		})
	}
}

func timeToEnd(b *testing.B, silence faults.Silence) time.Duration {
	b.Helper()
	inHand := make(chan time.Time, 1)
	n := startNode(b, func(context.Context, keys.Pair) error { inHand <- time.Now(); return nil })
	if silence.Name != "nobody" {
		n.hold(b, silence, crowd)
	}
	require.NoError(b, recoverStreaming(b.Context(), n.dial(b), vectorKey))
	n.mustEnd(b)
	return time.Since(<-inHand)
}

// BenchmarkRecoverUnderFlood makes calls, each over a connection of its own and
// tried again as constellation recover does, during a flood of 5000 connects
// and 200 handshakes a second. The TPM is one that takes quoteTime. The goal is
// for operators who call for the first time; who has had a quote has no more than
// a fair share of the next ones: one of 251 networks waits for 251 quotes.
func BenchmarkRecoverUnderFlood(b *testing.B) {
	length, err := time.ParseDuration(os.Getenv("FLOOD"))
	if err != nil {
		length = floodDefault
	}
	for _, addresses := range []int{1, 250} {
		for caller, address := range map[string]func(int) string{
			"first calls":    func(i int) string { return fmt.Sprintf("127.3.%d.%d", i/250, 1+i%250) },
			"the same again": func(int) string { return other },
		} {
			b.Run(fmt.Sprintf("from %d addresses, %s", addresses, caller), func(b *testing.B) {
				for range b.N {
					flood(b, addresses, length, address)
				}
			})
		}
	}
}

func flood(b *testing.B, addresses int, length time.Duration, caller func(int) string) {
	b.Helper()
	n := startNode(b, func(context.Context, keys.Pair) error { return keys.ErrDecided }, withIssuer(newSerial(quoteTime)))
	ctx, end := context.WithTimeout(b.Context(), length)
	defer end()
	var floods sync.WaitGroup
	rates := make([]float64, 2)
	for i, f := range []flooding{
		{Silence: 0, Rate: 5000, Open: 2000},
		{Silence: 2, Rate: 200, Open: 500},
	} {
		f.Target, f.Addresses, f.Length = n.target(b), addresses, length
		floods.Go(func() { rates[i] = f.fromOutside(b) / length.Seconds() })
	}
	took, first, failed := callsUntil(ctx, b, n, caller)
	floods.Wait()
	require.NotEmpty(b, took)
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(took)), "calls")
	b.ReportMetric(100*float64(len(took))/float64(len(took)+failed), "%-ok")
	b.ReportMetric(100*float64(first)/float64(len(took)+failed), "%-at-once")
	b.ReportMetric(p99.Seconds(), "s-p99")
	b.ReportMetric(rates[0], "connects/s")
	b.ReportMetric(rates[1], "handshakes/s")
	b.ReportMetric(p99.Seconds()/callGoal.Seconds(), "p99/goal")
	if failed > 0 {
		b.Errorf("%d calls failed, want none", failed)
	}
}

// flooding is a flood in a process of its own, so that it does not share the
// server's scheduler.
type flooding struct {
	Target                         faults.Target
	Silence, Rate, Open, Addresses int
	Length                         time.Duration
}

func (f flooding) fromOutside(b *testing.B) (tried float64) {
	order, err := json.Marshal(f)
	if err != nil {
		b.Error(err)
		return 0
	}
	process := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestFloodForBenchmarks$")
	process.Env = append(os.Environ(), "FLOOD_ORDER="+string(order))
	out, err := process.Output()
	if _, after, found := strings.Cut(string(out), "tried: "); err == nil && found {
		tried, err = strconv.ParseFloat(strings.Fields(after)[0], 64)
	}
	if err != nil {
		b.Error(err)
	}
	return tried
}

// callsUntil makes call after call, each from its caller's address. A call has
// failed when it has not come through in 10 s.
func callsUntil(ctx context.Context, b *testing.B, n *node, caller func(int) string) (took []time.Duration, first, failed int) {
	for ctx.Err() == nil {
		start := time.Now()
		ok := false
		for tries := 0; !ok && time.Since(start) < 10*time.Second; tries++ {
			conn := n.dial(b, caller(len(took)+failed))
			err := recoverStreaming(b.Context(), conn, vectorKey)
			_ = conn.Close()
			ok = status.Code(err) == codes.FailedPrecondition // it came as far as the proof
			if ok && tries == 0 {
				first++
			}
		}
		if !ok {
			failed++
			continue
		}
		took = append(took, time.Since(start))
		time.Sleep(50 * time.Millisecond)
	}
	return took, first, failed
}

// BenchmarkMemory is what a server in a process of its own has in memory and
// descriptors at most, while it is abused.
func BenchmarkMemory(b *testing.B) {
	for _, abuse := range faults.Abuses {
		b.Run(abuse.Name, func(b *testing.B) {
			measure(b, func(target faults.Target, sources []string) {
				var attack sync.WaitGroup
				for _, source := range sources[:32] {
					attack.Go(func() {
						if conn, err := abuse.Commit(b.Context(), target, source); err == nil {
							b.Cleanup(func() { _ = conn.Close() })
						}
					})
				}
				attack.Wait()
			})
		})
	}
	for name, f := range map[string]faults.Flood{
		"G13 5000 connections from 1 address":         {Silence: faults.Silences[0], Rate: 2500, Open: 5000},
		"G13 5000 connections from 250 addresses":     {Silence: faults.Silences[0], Rate: 2500, Open: 5000, Sources: faults.Sources(250)},
		"G18 1000 handshakes a second from 250":       {Silence: faults.Silences[2], Rate: 1000, Open: 1000, Sources: faults.Sources(250)},
		"G5 calls with one message, from 250, 300 /s": {Silence: faults.Silences[4], Rate: 300, Open: 1000, Sources: faults.Sources(250)},
	} {
		b.Run(name, func(b *testing.B) {
			measure(b, func(target faults.Target, sources []string) {
				ctx, end := context.WithTimeout(b.Context(), 2*time.Second)
				defer end()
				f.Target = target
				if f.Sources == nil {
					f.Sources = sources[:1]
				}
				f.Run(ctx)
			})
		})
	}
}

func measure(b *testing.B, attack func(faults.Target, []string)) {
	b.Helper()
	n := &node{address: freeAddress(b)}
	process := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestServeForBenchmarks$")
	process.Env = append(os.Environ(), "SERVE="+n.address)
	require.NoError(b, process.Start())
	b.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() })
	require.Eventually(b, func() bool {
		conn, err := faults.Dial(b.Context(), n.address, other)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)

	watching, enough := context.WithCancel(b.Context())
	files := make(chan int, 1)
	go func() { files <- mostFiles(watching, process.Process.Pid) }()
	for range b.N {
		attack(n.target(b), faults.Sources(250))
	}
	enough()
	most := <-files
	rss, err := faults.PeakMemory(process.Process.Pid)
	require.NoError(b, err)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rss, "MiB")
	b.ReportMetric(float64(most), "descriptors")
	if rss > maxRSS || most > maxFiles {
		b.Errorf("%.0f MiB and %d descriptors, want at most %d and %d", rss, most, maxRSS, maxFiles)
	}
}

func mostFiles(ctx context.Context, pid int) (most int) {
	for ctx.Err() == nil {
		open, _ := faults.OpenFiles(pid)
		most = max(most, open)
		time.Sleep(5 * time.Millisecond)
	}
	return most
}
