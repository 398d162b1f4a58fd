package rejoinclient

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/logging"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// likeTPM makes one document after the other, as long as swtpm takes for a quote.
type likeTPM struct {
	quoting
	turn *sync.Mutex
}

const quoteTime = 12 * time.Millisecond

func (l likeTPM) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	select {
	case <-time.After(quoteTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return l.quoting.Issue(ctx, userData, nonce)
}

// BenchmarkTimeToKey: the honest endpoint is the last of 1, 10 and 100. The
// goals are 1.5 times the time with one, and that time and a second.
func BenchmarkTimeToKey(b *testing.B) {
	ctx := b.Context()
	good := service(b, ticket(goodKey, goodSecret))
	kinds := []struct{ name, endpoint string }{
		{"connection refused", refusing(b)},
		{"black hole", blackHoleOn(b, [4]byte{})},
		{"TCP, then silent", muteOn(b, "0.0.0.0:0", make(chan struct{}, 1<<20))},
		{"TLS, then silent", joinService{rejoin: silent(make(chan struct{}, 1<<20), make(chan struct{}, 1<<20))}.startOn(b, "0.0.0.0:0")},
		{"wrong key", joinService{rejoin: ticket(wrongKey, goodSecret)}.startOn(b, "0.0.0.0:0")},
	}
	var rows []string
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			var took [3]time.Duration
			for b.Loop() {
				for i, n := range []int{1, 10, 100} {
					took[i] += timeToKey(ctx, b, append(many(b, n-1, kind.endpoint), good))
				}
			}
			n := time.Duration(b.N)
			one, ten, hundred := took[0]/n, took[1]/n, took[2]/n
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(one.Seconds()*1e3, "ms/1")
			b.ReportMetric(ten.Seconds()*1e3, "ms/10")
			b.ReportMetric(hundred.Seconds()*1e3, "ms/100")
			rows = append(rows, fmt.Sprintf("%s\t%v\t%v\t%v\t%.2f\t%.2f\t%v", kind.name, one.Round(100*time.Microsecond),
				ten.Round(100*time.Microsecond), hundred.Round(100*time.Microsecond), ratio(ten, one), ratio(hundred, one), hundred-one < time.Second))
		})
	}
	table(b, "the others are\tof 1\tof 10\tof 100\t10:1\t100:1\tunder 1 s more", rows)
}

func ratio(x, of time.Duration) float64 { return float64(x) / float64(max(of, 1)) }

func timeToKey(ctx context.Context, b *testing.B, endpoints static) time.Duration {
	b.Helper()
	client := New(likeTPM{turn: new(sync.Mutex)}, atls.AcceptAnyPeer, zap.NewNop(), endpoints)
	var disk stateDisk
	start := time.Now()
	require.NoError(b, client.Offer(ctx, testDisk, disk.prove))
	took := time.Since(start)
	require.Equal(b, [][]byte{goodKey, goodSecret}, disk.won)
	return took
}

// table goes to the terminal itself: the log of a benchmark is cut at its end.
func table(b *testing.B, head string, rows []string) {
	b.Helper()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\n"+head)
	for _, row := range rows {
		fmt.Fprintln(w, row)
	}
	require.NoError(b, w.Flush())
}

// serialTPM makes one document after the other.
type serialTPM struct {
	quoting
	turn *sync.Mutex
	took time.Duration
	made *atomic.Int32
}

func (s serialTPM) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	time.Sleep(s.took)
	s.made.Add(1)
	return s.quoting.Issue(ctx, userData, nonce)
}

// later knows its endpoints once that many others have been asked.
type later struct {
	static
	asked *distinct
	after int
	from  *time.Time // when they were listed
}

// distinct are the addresses under which a service was asked.
type distinct struct {
	mu  sync.Mutex
	all map[string]bool
}

func (d *distinct) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all)
}

// refuse is an answer.
func (d *distinct) refuse(ctx context.Context, _ *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
	if caller, ok := peer.FromContext(ctx); ok {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.all[caller.LocalAddr.String()] = true
	}
	return nil, status.Error(codes.Unimplemented, "no ticket")
}

func (l later) JoinEndpoints(ctx context.Context) ([]string, error) {
	for l.asked.count() < l.after {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if l.from.IsZero() {
		*l.from = time.Now()
	}
	return l.static, nil
}

// BenchmarkBehindQuotesInVain: 255 endpoints take a quote each and refuse, the honest
// one is the last. Goals: found within the time of those quotes and a half, and once
// each has had its quote, within 16 quotes and a second.
func BenchmarkBehindQuotesInVain(b *testing.B) {
	asked := &distinct{all: map[string]bool{}}
	refuses := joinService{rejoin: asked.refuse}.startOn(b, "0.0.0.0:0")
	good := service(b, ticket(goodKey, goodSecret))
	rogues := many(b, maxEndpoints-1, refuses)
	var rows []string
	for _, took := range []time.Duration{12, 50, 100, 200} {
		took *= time.Millisecond
		b.Run(took.String(), func(b *testing.B) {
			var first, then time.Duration
			var made int32
			for b.Loop() {
				start, tpm := time.Now(), serialTPM{turn: new(sync.Mutex), took: took, made: new(atomic.Int32)}
				findKey(b, tpm, append(slices.Clone(rogues), good))
				first, made = first+time.Since(start), tpm.made.Load()

				clear(asked.all)
				var listed time.Time
				findKey(b, tpm, rogues, later{static{good}, asked, maxEndpoints - 1, &listed})
				then += time.Since(listed)
			}
			n := time.Duration(b.N)
			goal, soon := maxEndpoints*took*3/2, 16*took+time.Second
			b.ReportMetric(0, "ns/op")
			rows = append(rows, fmt.Sprintf("%v\t%d\t%v\t%v\t%v\t%v\t%v\t%v", took, made, (first/n).Round(time.Millisecond), goal, first/n <= goal,
				(then/n).Round(time.Millisecond), soon, then/n <= soon))
		})
	}
	table(b, "a quote takes\tquotes\tfirst found after\tgoal\tmet\tand when it comes later\tgoal\tmet", rows)
}

func findKey(b *testing.B, tpm serialTPM, sources ...Endpoints) {
	b.Helper()
	var disk stateDisk
	require.NoError(b, New(tpm, atls.AcceptAnyPeer, zap.NewNop(), sources...).Offer(b.Context(), testDisk, disk.prove))
	require.Equal(b, [][]byte{goodKey, goodSecret}, disk.won)
}

// BenchmarkConsoleUnderRogues is what 256 rogue JoinServices make a node write in a
// minute of real time, those that stay silent included.
func BenchmarkConsoleUnderRogues(b *testing.B) {
	var rows []string
	mute := rogue{"nothing at all", func(t testing.TB, address string) string { return muteOn(t, address, make(chan struct{}, 1<<20)) }}
	all := append(slices.Clone(rogues), mute)
	for _, kinds := range [][]rogue{{rogues[0]}, {rogues[4]}, {rogues[5]}, {mute}, all} {
		name := kinds[0].name
		if len(kinds) > 1 {
			name = "all kinds"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var ports []string
				for _, r := range kinds {
					ports = append(ports, portOf(b, r.start(b, "0.0.0.0:0")))
				}
				ctx, cancel := context.WithTimeout(b.Context(), floodTime)
				var console tally
				client := New(quoting{}, atls.AcceptAnyPeer, logging.New(&console, 0), &renaming{ports: ports, sameNames: true})
				require.NoError(b, client.Offer(ctx, testDisk, (&stateDisk{}).prove))
				cancel()
				lines, bytes := console.lines.Load(), console.bytes.Load()
				rows = append(rows, fmt.Sprintf("%s\t%d\t%d\t%d\t%v", name, client.Counts()["attempts"], lines, bytes, lines <= maxFloodLines && bytes <= maxFloodBytes))
			}
			b.ReportMetric(0, "ns/op")
		})
	}
	table(b, fmt.Sprintf("256 that do\tattempts\tlines\tbytes\tat most %d and %d", maxFloodLines, maxFloodBytes), rows)
}
