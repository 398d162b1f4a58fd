package joinservice_test

import (
	"context"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/faults"
	"disk-mapper/internal/joinservice"

	"github.com/stretchr/testify/require"
)

const (
	slower   = 2 * time.Second // than without a flood, for 99 of 100 nodes
	maxRSS   = 128             // MiB
	maxLines = 100             // in 60 s
	maxBytes = 64 << 10        // of them
	quote    = 12 * time.Millisecond
)

// length of each flood; FLOOD=60s for longer.
func length() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FLOOD")); err == nil {
		return d
	}
	return 3 * time.Second
}

// asIPv6 lets connections from all addresses but the node's seem to come from the
// /64s of one /48, another one each time.
type asIPv6 struct {
	net.Listener
	next *atomic.Uint32
}

type fromIPv6 struct {
	*net.TCPConn
	peer net.Addr
}

func (f fromIPv6) RemoteAddr() net.Addr { return f.peer }

func (l asIPv6) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	peer := &net.TCPAddr{IP: net.ParseIP("2001:db8:9::1"), Port: 1}
	if !strings.HasPrefix(conn.RemoteAddr().String(), "127.0.0.1:") {
		n := l.next.Add(1)
		peer.IP = net.ParseIP(fmt.Sprintf("2001:db8:0:%x::1", n%0x10000))
	}
	return fromIPv6{conn.(*net.TCPConn), peer}, nil
}

// BenchmarkRejoinUnderFlood: a node is served every time, and how much later than
// without the flood of the same service.
func BenchmarkRejoinUnderFlood(b *testing.B) {
	for _, attested := range []bool{false, true} {
		for _, source := range []string{"1 address", "250 addresses", "one IPv6 48"} {
			for _, hello := range faults.Hellos {
				for _, rate := range []int{50, 200, 1000} {
					if source != "1 address" && rate != 1000 {
						continue
					}
					b.Run(fmt.Sprintf("attested %v/%s/%s/%d per s", attested, source, hello.Name, rate), func(b *testing.B) {
						rejoinUnderFlood(b, attested, source, faults.Flood{Silence: hello, Rate: rate, Open: 2000, Sources: faults.Sources(1)})
					})
				}
			}
		}
	}
}

func rejoinUnderFlood(b *testing.B, attested bool, source string, flood faults.Flood) {
	self := atls.Unattested
	if attested {
		self = newSlowly(quote)
	}
	listener := listen(b)
	flood.Target.Address = listener.Addr().String()
	if source != "1 address" {
		flood.Sources = faults.Sources(250)
	}
	if source == "one IPv6 48" {
		listener = asIPv6{listener, new(atomic.Uint32)}
	}
	serveOn(b, listener, self)
	alone, failed := nodes(b, flood.Target.Address)
	require.Zero(b, failed)
	under(b, flood, func() {
		time.Sleep(time.Second)
		took, failed := nodes(b, flood.Target.Address)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(len(took)), "served")
		b.ReportMetric(float64(failed), "failed")
		b.ReportMetric(alone.p99().Seconds(), "s-p99-alone")
		b.ReportMetric(took.p99().Seconds(), "s-p99")
		b.ReportMetric((took.p99()-alone.p99()).Seconds()/slower.Seconds(), "slower/goal")
		if failed > 0 || took.p99() > alone.p99()+slower {
			b.Errorf("%d failed, p99 %v, want none and at most %v", failed, took.p99(), alone.p99()+slower)
		}
	})
}

type durations []time.Duration

func (d durations) p99() time.Duration {
	if len(d) == 0 {
		return time.Hour
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)*99/100]
}

// nodes rejoin one after the other, each with one attempt of 10 s as a node makes.
func nodes(b *testing.B, address string) (took durations, failed int) {
	for start := time.Now(); time.Since(start) < length(); {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		begin := time.Now()
		if err := rejoin(ctx, address, "127.0.0.1"); err != nil {
			failed++
			b.Log(time.Since(begin), err)
		} else {
			took = append(took, time.Since(begin))
		}
		cancel()
	}
	return took, failed
}

// BenchmarkMemoryOfCertificates is the most that a service in a process of its own
// has in memory, when 512 strangers send the largest certificates at once: those with the
// largest document, and those with an OID that takes eight times its length.
func BenchmarkMemoryOfCertificates(b *testing.B) {
	long := append(asn1.ObjectIdentifier{1, 3, 9900}, slices.Repeat([]int{127}, attestation.MaxDocument)...)
	for name, extension := range map[string]pkix.Extension{
		"largest document": {Id: attestation.QEMUVTPM.OID(), Value: make([]byte, attestation.MaxDocument)},
		"longest OID":      {Id: long, Value: []byte{1}},
	} {
		b.Run(name, func(b *testing.B) {
			address := listen(b)
			require.NoError(b, address.Close())
			process := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestServeForBenchmarks$")
			process.Env = append(os.Environ(), "SERVE="+address.Addr().String())
			require.NoError(b, process.Start())
			defer func() { _ = process.Process.Kill(); _ = process.Wait() }()
			require.Eventually(b, func() bool { return rejoin(b.Context(), address.Addr().String(), "127.0.0.1") == nil }, 10*time.Second, 100*time.Millisecond)
			before, err := faults.PeakMemory(process.Process.Pid)
			require.NoError(b, err)
			certificate := newCertificate(b, extension)
			var strangers sync.WaitGroup
			for i := range 512 {
				strangers.Go(func() { refused(b, address.Addr().String(), faults.Sources(8)[i%8], certificate) })
			}
			strangers.Wait()
			rss, err := faults.PeakMemory(process.Process.Pid)
			require.NoError(b, err)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(before, "MiB-before")
			b.ReportMetric(rss, "MiB")
			b.ReportMetric(rss/maxRSS, "MiB/goal")
			if rss > maxRSS {
				b.Errorf("%.0f MiB, want at most %d", rss, maxRSS)
			}
		})
	}
}

// TestServeForBenchmarks is the process that BenchmarkMemoryOfCertificates measures.
func TestServeForBenchmarks(t *testing.T) {
	address := os.Getenv("SERVE")
	if address == "" {
		t.Skip("for BenchmarkMemoryOfCertificates")
	}
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	debug.SetMemoryLimit(joinservice.MaxMemory) // as the program does
	serveOn(t, listener, atls.Unattested)
	<-t.Context().Done()
}

// BenchmarkLines counts what 60 s of refused handshakes write, from one address and
// from many.
func BenchmarkLines(b *testing.B) {
	certificate := newCertificate(b, pkix.Extension{Id: attestation.QEMUVTPM.OID(), Value: []byte(strings.Repeat("\x1b\\", 1000))})
	for _, addresses := range []int{1, 250} {
		b.Run(fmt.Sprintf("from %d addresses", addresses), func(b *testing.B) {
			listener := listen(b)
			screen := serveOn(b, listener, atls.Unattested)
			sources := faults.Sources(addresses)
			tried := 0
			for start := time.Now(); time.Since(start) < time.Minute; tried++ {
				refused(b, listener.Addr().String(), sources[tried%len(sources)], certificate)
			}
			lines, size := strings.Count(screen.String(), "\n"), len(screen.String())
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(tried), "handshakes")
			b.ReportMetric(float64(lines), "lines")
			b.ReportMetric(float64(size), "bytes")
			b.ReportMetric(float64(lines)/maxLines, "lines/goal")
			b.ReportMetric(float64(size)/maxBytes, "bytes/goal")
			if lines > maxLines || size > maxBytes {
				b.Errorf("%d lines and %d bytes, want at most %d and %d", lines, size, maxLines, maxBytes)
			}
		})
	}
}
