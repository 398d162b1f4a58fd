package recoveryserver

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"disk-mapper/internal/faults"
	"disk-mapper/internal/keys"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// BenchmarkNamedOperator makes calls as an operator who is named, during a flood of 400
// handshakes a second from the operator's own address, with quotes of 50 ms.
func BenchmarkNamedOperator(b *testing.B) {
	key, operators := newOperator(b)
	n := startNode(b, func(context.Context, keys.Pair) error { return keys.ErrDecided },
		withIssuer(newSerial(50*time.Millisecond)), func(s *Server) { s.operators = operators })
	ctx, end := context.WithCancel(b.Context())
	var flood sync.WaitGroup
	flood.Go(func() {
		faults.Flood{Target: n.target(b), Silence: faults.Hellos[3], Sources: []string{other}, Rate: 400, Open: 1000}.Run(ctx)
	})
	defer flood.Wait()
	defer end()
	time.Sleep(time.Second)
	var took []time.Duration
	failed := 0
	for start := time.Now(); time.Since(start) < floodDefault; {
		begin := time.Now()
		conn := n.dialAs(b, key, other)
		calling, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := recoverStreaming(calling, conn, vectorKey)
		if status.Code(err) == codes.FailedPrecondition { // it came as far as the proof
			took = append(took, time.Since(begin))
		} else {
			failed++
			b.Log(err)
		}
		cancel()
		_ = conn.Close()
	}
	if len(took) == 0 {
		b.Fatal("no call came through")
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(took)), "first-attempts")
	b.ReportMetric(float64(failed), "failed")
	b.ReportMetric(p99.Seconds(), "s-p99")
	b.ReportMetric(p99.Seconds()/callGoal.Seconds(), "p99/goal")
	if failed > 0 || p99 > callGoal {
		b.Errorf("%d of %d failed, p99 %v, want none and at most %v", failed, failed+len(took), p99, callGoal)
	}
}
