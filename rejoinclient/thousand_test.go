package rejoinclient

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/faults"
	"disk-mapper/internal/joinservice"
	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// asJoinService makes the test binary a JoinService, so that its use of the
// processor can be told from that of the nodes.
const asJoinService = "TEST_AS_JOINSERVICE"

func TestMain(m *testing.M) {
	serve := serveUntilEOF
	switch {
	case os.Getenv(asNode) != "":
		serve = func() error { return rejoinUntilEOF(os.Getenv(asNode)) }
	case os.Getenv(asJoinService) == "":
		os.Exit(m.Run())
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveUntilEOF() error {
	master, err := keys.NewMasterSecret(bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32))
	if err != nil {
		return err
	}
	salt, err := keys.NewMeasurementSalt(bytes.Repeat([]byte{3}, 32))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	fmt.Println(listener.Addr())
	log := zap.NewNop()
	return joinservice.Serve(ctx, listener, joinservice.NewTickets(master, salt, log), atls.Unattested, quoting{}, log)
}

const nodes = 1000

// BenchmarkThousandNodes rejoins them at once at one JoinService, a process of
// its own. Documents are made and judged without a TPM: what verification adds is
// in the benchmark of attestation/vtpm.
func BenchmarkThousandNodes(b *testing.B) {
	for b.Loop() {
		process := exec.CommandContext(b.Context(), os.Args[0])
		process.Env = append(os.Environ(), asJoinService+"=1")
		process.Stderr = os.Stderr
		stdin, err := process.StdinPipe()
		require.NoError(b, err)
		stdout, err := process.StdoutPipe()
		require.NoError(b, err)
		require.NoError(b, process.Start())
		address, err := bufio.NewReader(stdout).ReadString('\n')
		require.NoError(b, err)
		took, attempts := rejoinAll(b, strings.TrimSpace(address))
		rss, err := faults.PeakMemory(process.Process.Pid)
		require.NoError(b, err)
		require.NoError(b, stdin.Close())
		require.NoError(b, process.Wait())
		cpu := process.ProcessState.UserTime() + process.ProcessState.SystemTime()
		table(b, "nodes\tserved\tin\tattempts\tserver CPU per ticket\tserver memory", []string{fmt.Sprintf("%d\t%d\t%v\t%d\t%v\t%.0f MiB",
			nodes, nodes, took.Round(time.Millisecond), attempts, (cpu / nodes).Round(time.Microsecond), rss)})
	}
}

// rejoinAll returns when all nodes have a key.
func rejoinAll(b *testing.B, address string) (took time.Duration, attempts int) {
	b.Helper()
	start := time.Now()
	clients := make([]*Client, nodes)
	var all sync.WaitGroup
	for i := range clients {
		clients[i] = New(quoting{}, atls.AcceptAnyPeer, zap.NewNop(), static{address})
		all.Go(func() {
			_ = clients[i].Offer(b.Context(), testDisk, func(context.Context, keys.Pair) error { return nil })
		})
	}
	all.Wait()
	for _, c := range clients {
		attempts += c.Counts()["attempts"]
	}
	require.NoError(b, b.Context().Err())
	return time.Since(start), attempts
}

// BenchmarkRestartSpread restarts the nodes together while no JoinService works:
// how far their second attempts are apart. The goal is 80 % of the window.
func BenchmarkRestartSpread(b *testing.B) {
	for b.Loop() {
		second := secondAttempts(b)
		first, last, busiest := second[0], second[0], 0
		tenths := map[time.Duration]int{}
		for _, at := range second {
			first, last = min(first, at), max(last, at)
			tenths[10*at/production.pause]++
			busiest = max(busiest, tenths[10*at/production.pause])
		}
		spread := float64(last-first) / float64(production.pause)
		b.ReportMetric(spread*100, "%window")
		table(b, "nodes\tsecond attempts after\tto\tspread of the window\tin the busiest tenth of it", []string{fmt.Sprintf("%d\t%v\t%v\t%.0f %%\t%d",
			nodes, first.Round(time.Millisecond), last.Round(time.Millisecond), spread*100, busiest)})
	}
}

// secondAttempts are the times from the first to the second attempt of each node,
// as the endpoint sees them. Each node knows it by another address.
func secondAttempts(b *testing.B) []time.Duration {
	b.Helper()
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer listener.Close()
	port := portOf(b, listener.Addr().String())
	for i := range nodes {
		client := New(quoting{}, atls.AcceptAnyPeer, zap.NewNop(), static{fmt.Sprintf("127.2.%d.%d:%s", i/250, i%250+1, port)})
		all.Go(func() { _ = client.Offer(ctx, testDisk, (&stateDisk{}).prove) })
	}
	first, second := map[string]time.Time{}, map[string]time.Duration{}
	for len(second) < nodes {
		conn, err := listener.Accept()
		require.NoError(b, err)
		node := conn.LocalAddr().String()
		require.NoError(b, conn.Close())
		if at, known := first[node]; !known {
			first[node] = time.Now()
		} else if _, known := second[node]; !known {
			second[node] = time.Since(at)
		}
	}
	var waits []time.Duration
	for _, wait := range second {
		waits = append(waits, wait)
	}
	return waits
}
