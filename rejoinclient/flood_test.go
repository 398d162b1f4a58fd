package rejoinclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/logging"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What strangers may have of a console in a minute.
const (
	floodTime     = time.Minute
	maxFloodLines = 100
	maxFloodBytes = 64 << 10
)

// rogue is a kind of endpoint that does its worst to the log, and to the node.
type rogue struct {
	name  string
	start func(t testing.TB, address string) string
}

// answers serves each connection with f, in attested TLS.
func answers(f func(conn net.Conn, frames *http2.Framer)) func(testing.TB, string) string {
	return func(t testing.TB, address string) string {
		return accepts(t, address, func(raw net.Conn) {
			conn, _, err := atls.ServerCredentials(atls.Unattested, atls.Require(quoting{})).ServerHandshake(raw)
			if err != nil {
				return
			}
			frames := http2.NewFramer(conn, conn)
			if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err == nil && frames.WriteSettings() == nil {
				f(conn, frames)
			}
		})
	}
}

func accepts(t testing.TB, address string, f func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); f(conn) }()
		}
	}()
	return listener.Addr().String()
}

// pours writes one frame again and again, until the node hangs up.
func pours(frame func(*http2.Framer) error) func(testing.TB, string) string {
	return answers(func(conn net.Conn, frames *http2.Framer) {
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		for frame(frames) == nil {
		}
	})
}

func says(text func() error) func(testing.TB, string) string {
	return func(t testing.TB, address string) string {
		return joinService{rejoin: func(context.Context, *joinproto.IssueRejoinTicketRequest) (*joinproto.IssueRejoinTicketResponse, error) {
			return nil, text()
		}}.startOn(t, address)
	}
}

// pouring is how many of the rogues, the first ones, do so.
const pouring = 4

// rogues all answer, each time, so that a test with a clock of its own can wait for them.
var rogues = []rogue{
	{"goodbye without end", pours(func(f *http2.Framer) error {
		return f.WriteGoAway(1, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings"))
	})},
	{"pings without end", pours(func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) })},
	{"settings without end", pours(func(f *http2.Framer) error { return f.WriteSettings() })},
	{"unknown frames without end", pours(func(f *http2.Framer) error { return f.WriteRawFrame(0xfe, 0, 0, make([]byte, 16)) })},
	{"another text each time, soon", says(func() error {
		return busy(codes.Unavailable, time.Duration(rand.Int64N(1e9)))
	})},
	{"another long text each time", says(func() error {
		return status.Error(codes.PermissionDenied, fmt.Sprint(rand.Int64(), strings.Repeat("\x1b[2J\\\"", 1000)))
	})},
	{"wrong keys", joinService{rejoin: ticket(wrongKey, goodSecret)}.startOn},
	{"no TLS", func(t testing.TB, address string) string {
		return accepts(t, address, func(conn net.Conn) { _, _ = fmt.Fprint(conn, rand.Int64(), "\x1b[2J") })
	}},
	{"an alert", func(t testing.TB, address string) string {
		return accepts(t, address, func(conn net.Conn) { _ = tls.Server(conn, &tls.Config{}).Handshake() })
	}},
}

// renaming gives each kind its share of names, and has another error each time.
type renaming struct {
	ports     []string
	calls     int
	sameNames bool // the names stay
}

func (r *renaming) JoinEndpoints(context.Context) ([]string, error) {
	r.calls++
	round := r.calls
	if r.sameNames {
		round = 0
	}
	var all []string
	for i := range maxEndpoints {
		port := r.ports[i%len(r.ports)]
		if len(r.ports) > pouring && i > 32 { // a few of each that cost this machine most
			port = r.ports[pouring+i%(len(r.ports)-pouring)]
		}
		all = append(all, fmt.Sprintf("127.%d.%d.%d:%s", 8+round, i/250, i%250+1, port))
	}
	return all, errors.New(strings.Repeat(fmt.Sprint("\x1b[2J", r.calls), 1000))
}

// tally counts what the log writes.
type tally struct{ lines, bytes atomic.Int64 }

func (c *tally) Write(p []byte) (int, error) {
	c.lines.Add(1)
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

// TestRogueJoinServicesCannotFillTheConsole: 256 of all kinds that answer, over real
// connections, while some seconds pass on the node's clock; most of the ration is a
// burst. With names that stay and with names that change.
func TestRogueJoinServicesCannotFillTheConsole(t *testing.T) {
	var ports []string
	for _, r := range rogues {
		ports = append(ports, portOf(t, r.start(t, "0.0.0.0:0")))
	}
	ports = append(ports, portOf(t, refusing(t)))
	for name, sameNames := range map[string]bool{"names that stay": true, "names that change": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				var console tally
				client := New(quoting{}, atls.AcceptAnyPeer, logging.New(&console, 0), &renaming{ports: ports, sameNames: sameNames})
				require.NoError(t, client.Offer(ctx, testDisk, (&stateDisk{}).prove))
				t.Logf("%d attempts: %d lines, %d bytes", client.Counts()["attempts"], console.lines.Load(), console.bytes.Load())
				assert.Greater(t, client.Counts()["attempts"], maxEndpoints)
				assert.LessOrEqual(t, console.lines.Load(), int64(maxFloodLines))
				assert.LessOrEqual(t, console.bytes.Load(), int64(maxFloodBytes))
			})
		})
	}
}

// TestLinesOfAMinuteAreRationed: whatever there is to say about endpoints and lists,
// ten times a second, one minute has so much of it, and the last lines are those
// that say most. The next minute has room again.
func TestLinesOfAMinuteAreRationed(t *testing.T) {
	long := strings.Repeat("\\\"\x1b", 1000)
	for name, say := range map[string]func(r *report, i int){
		"who is asked":         func(r *report, i int) { r.asking(&endpoint{address: fmt.Sprint(i)}) },
		"who fails":            func(r *report, i int) { r.failed(&endpoint{address: "a"}, errors.New(fmt.Sprint(i))) },
		"who fails, at length": func(r *report, i int) { r.failed(&endpoint{address: long}, errors.New(fmt.Sprint(i)+long)) },
		"lists":                func(r *report, i int) { r.list([]string{fmt.Sprint(i)}) },
		"long lists":           func(r *report, i int) { r.list(slices.Repeat([]string{fmt.Sprint(i) + long}, 300)) },
		"no lists":             func(r *report, i int) { r.empty = false; r.list(nil) },
		"failing sources":      func(r *report, i int) { r.source(list{rank: i % 3, err: errors.New(fmt.Sprint(i) + long)}) },
		"rounds":               func(r *report, _ int) { r.summary(map[string]int{}) },
		"all of it": func(r *report, i int) {
			r.asking(&endpoint{address: fmt.Sprint(i) + long})
			r.failed(&endpoint{address: long}, errors.New(fmt.Sprint(i)+long))
			r.list(slices.Repeat([]string{fmt.Sprint(i) + long}, 300))
			r.source(list{err: errors.New(fmt.Sprint(i) + long)})
		},
	} {
		for kind, wanted := range map[string]wanted{"rejoin": rejoining{}, "join": &joining{}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var console tally
					r := newReport(logging.New(&console, 0).Named("rejoinClient"), wanted)
					for i := range int(floodTime / (100 * time.Millisecond)) {
						say(r, i)
						time.Sleep(100 * time.Millisecond)
					}
					assert.LessOrEqual(t, console.lines.Load(), int64(maxFloodLines-10), "others have lines too")
					assert.LessOrEqual(t, console.bytes.Load(), int64(maxFloodBytes-10<<10))
					before := console.lines.Load()
					if name != "rounds" { // which take all there is
						r.summary(map[string]int{})
						assert.Equal(t, before+1, console.lines.Load(), "a summary has always room")
					}
					time.Sleep(floodTime)
					before = console.lines.Load()
					say(r, 1e6)
					assert.Greater(t, console.lines.Load(), before, "the next minute has room again")
				})
			})
		}
	}
}

// TestFramesWithoutEndEndTheAttempt: at once, not when its time is over.
func TestFramesWithoutEndEndTheAttempt(t *testing.T) {
	for _, r := range rogues[:pouring] {
		t.Run(r.name, func(t *testing.T) {
			endpoint := r.start(t, "127.0.0.1:0")
			o := offer(t, static{endpoint}, (&stateDisk{}).prove, func(c *Client) { c.times.answer, c.times.pause = time.Hour, time.Hour })
			o.awaitLine(t, "Failed to rejoin on all endpoints")
			assert.Equal(t, 1, o.client.Counts()["endpointsRefused"])
		})
	}
}
