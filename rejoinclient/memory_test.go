package rejoinclient

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/cloud/qemu"
	"disk-mapper/internal/faults"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// asNode makes the test binary a node that asks the metadata service at the URL in
// it, and the JoinServices behind it after commas, until its standard input ends.
const asNode = "TEST_AS_NODE"

func rejoinUntilEOF(order string) error {
	parts := strings.Split(order, ",")
	ctx, stop := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	metadata := qemu.New(parts[0])
	client := New(quoting{}, atls.AcceptAnyPeer, zap.NewNop(),
		cloud.ControlPlanes(metadata), cloud.LoadBalancer(metadata), static(parts[1:]))
	client.times.pause, client.times.maxPause = time.Millisecond, time.Millisecond
	return client.Offer(ctx, testDisk, (&stateDisk{}).prove)
}

// Goals of BenchmarkMemory.
const (
	maxRSS   = 128 // MiB
	maxFiles = 512
)

// abuses are rows M2, M5 and R4: what the metadata service answers to a list, and
// what each JoinService answers to a call.
var abuses = map[string]struct{ metadata, ticket http.HandlerFunc }{
	"M2 body of 1 GiB": {metadata: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(1<<30))
		pour(w, 1<<30, strings.Repeat("[", 32<<10))
	}},
	"M2 endless chunks": {metadata: func(w http.ResponseWriter, _ *http.Request) { pour(w, 1<<40, strings.Repeat(" ", 32<<10)) }},
	"M5 200000 instances": {metadata: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, manyInstances(200_000))
	}},
	"M5 as many instances as one answer holds": {metadata: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, manyInstances(20_000))
	}},
	"R4 answer of 5 MiB": {ticket: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = w.Write([]byte{0, 0, 5 << 4, 0, 0}) // length of a gRPC message
		pour(w, 5<<20, strings.Repeat("x", 32<<10))
	}},
	"R4 trailers of 16 MiB": {ticket: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(http.TrailerPrefix+"x", strings.Repeat("x", 16<<20))
		w.Header().Set(http.TrailerPrefix+"grpc-status", "0")
	}},
}

func manyInstances(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, `,{"Role":"ControlPlane","VPCIP":"127.%d.%d.%d"}`, 3+i>>16, i>>8&255, i&255)
	}
	return "[" + all.String()[1:] + "]"
}

func pour(w io.Writer, n int, chunk string) {
	for range n / len(chunk) {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

// BenchmarkMemory is what a node in a process of its own has in memory and in
// descriptors at most, while it is abused a hundred times.
func BenchmarkMemory(b *testing.B) {
	for name, abuse := range abuses {
		b.Run(name, func(b *testing.B) {
			asked := make(chan struct{})
			metadata, endpoints := http.NotFound, ""
			if abuse.metadata != nil {
				metadata = counted(b, abuse.metadata, asked)
			}
			if abuse.ticket != nil {
				for range 32 {
					endpoints += "," + hostileJoinService(b, counted(b, abuse.ticket, asked))
				}
			}
			service := httptest.NewServer(http.HandlerFunc(metadata))
			b.Cleanup(service.CloseClientConnections)
			rss, files := whileAsked(b, service.URL+endpoints, asked)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(rss, "MiB")
			b.ReportMetric(float64(files), "descriptors")
			if rss > maxRSS || files > maxFiles {
				b.Errorf("%.0f MiB and %d descriptors, want at most %d and %d", rss, files, maxRSS, maxFiles)
			}
		})
	}
}

// counted tells of each answer.
func counted(b *testing.B, answer http.HandlerFunc, asked chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer(w, r)
		select {
		case asked <- struct{}{}:
		case <-b.Context().Done():
		}
	}
}

// whileAsked is what a node has at most until it has asked often enough.
func whileAsked(b *testing.B, order string, asked <-chan struct{}) (rss float64, files int) {
	b.Helper()
	node := exec.CommandContext(b.Context(), os.Args[0])
	node.Env = append(os.Environ(), asNode+"="+order)
	node.Stderr = os.Stderr
	stdin, err := node.StdinPipe()
	require.NoError(b, err)
	require.NoError(b, node.Start())
	for range 100 * b.N {
		<-asked
		files = max(files, openFiles(b, node.Process.Pid))
	}
	rss, err = faults.PeakMemory(node.Process.Pid)
	require.NoError(b, err)
	require.NoError(b, stdin.Close())
	require.NoError(b, node.Wait())
	return rss, files
}

// hostileJoinService answers with what gRPC's own server would not send.
func hostileJoinService(b *testing.B, ticket http.HandlerFunc) string {
	b.Helper()
	server := httptest.NewUnstartedServer(ticket)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that hang up
	server.EnableHTTP2 = true
	server.StartTLS()
	b.Cleanup(server.CloseClientConnections)
	return server.Listener.Addr().String()
}
