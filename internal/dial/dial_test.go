package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	testResolve = 5 * time.Second
	testConnect = 2 * time.Second
)

var errRefused = errors.New("connection refused")

// network is what is behind each address: a time after which it answers; negative,
// it refuses after that. Others swallow SYNs.
type network struct {
	addresses []string
	slow      time.Duration // the resolver takes that
	hosts     map[string]time.Duration
	tried     atomic.Int32
	open      atomic.Int32
}

func (n *network) dialer() Dialer {
	return Dialer{Resolve: testResolve, Connect: testConnect, lookUp: n.lookUp, dial: n.dial}
}

func (n *network) lookUp(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	if err := wait(ctx, n.slow); err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, a := range n.addresses {
		all = append(all, netip.MustParseAddr(a))
	}
	return all, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return os.ErrDeadlineExceeded
	}
}

// open counts connections that nobody has closed.
type open struct {
	net.Conn
	count *atomic.Int32
	to    string
}

func (o open) Close() error { o.count.Add(-1); return nil }

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	n.tried.Add(1)
	takes, there := n.hosts[host]
	if !there {
		takes = time.Hour
	}
	if takes < 0 {
		return nil, errors.Join(wait(ctx, -takes), errRefused)
	}
	if err := wait(ctx, takes); err != nil {
		return nil, fmt.Errorf("dial tcp %s: %w", address, err)
	}
	n.open.Add(1)
	return open{count: &n.open, to: host}, nil
}

// TestANameWithDeadAddresses: whatever is dead, the one that is there is found, and
// no connection but that is left open.
func TestANameWithDeadAddresses(t *testing.T) {
	const now, refuses = time.Millisecond, -time.Millisecond
	for name, tc := range map[string]struct {
		addresses []string
		slow      time.Duration
		hosts     map[string]time.Duration
		want      string
		within    time.Duration
	}{
		"one, alive":            {[]string{"192.0.2.1"}, 0, map[string]time.Duration{"192.0.2.1": now}, "192.0.2.1", now},
		"first swallows SYNs":   {[]string{"192.0.2.1", "192.0.2.2"}, 0, map[string]time.Duration{"192.0.2.2": now}, "192.0.2.2", stagger + now},
		"last swallows SYNs":    {[]string{"192.0.2.1", "192.0.2.2"}, 0, map[string]time.Duration{"192.0.2.1": now}, "192.0.2.1", now},
		"first refuses":         {[]string{"192.0.2.1", "192.0.2.2"}, 0, map[string]time.Duration{"192.0.2.1": refuses, "192.0.2.2": now}, "192.0.2.2", 2 * now},
		"no IPv6 in between":    {[]string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"}, 0, map[string]time.Duration{"192.0.2.1": now}, "192.0.2.1", stagger + now},
		"no IPv4 in between":    {[]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}, 0, map[string]time.Duration{"2001:db8::1": now}, "2001:db8::1", stagger + now},
		"first is slow":         {[]string{"192.0.2.1", "192.0.2.2"}, 0, map[string]time.Duration{"192.0.2.1": 300 * time.Millisecond, "192.0.2.2": time.Second}, "192.0.2.1", 300 * time.Millisecond},
		"both at once":          {[]string{"192.0.2.1", "192.0.2.2"}, 0, map[string]time.Duration{"192.0.2.1": stagger + now, "192.0.2.2": now}, "", stagger + now},
		"resolver is slow":      {[]string{"192.0.2.1", "192.0.2.2"}, testResolve - now, map[string]time.Duration{"192.0.2.2": testConnect - now}, "192.0.2.2", testResolve + stagger + testConnect - 2*now},
		"last of as many as go": {dead(maxAddresses-1, "198.51.100.1"), 0, map[string]time.Duration{"198.51.100.1": testConnect - now}, "198.51.100.1", 4749 * time.Millisecond},
		"IPv4 in IPv6":          {[]string{"::ffff:192.0.2.1"}, 0, map[string]time.Duration{"192.0.2.1": now}, "192.0.2.1", now},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, start := &network{addresses: tc.addresses, slow: tc.slow, hosts: tc.hosts}, time.Now()
				conn, err := n.dialer().TCP(t.Context(), "name.example:30090")
				require.NoError(t, err)
				assert.Equal(t, tc.within, time.Since(start))
				if tc.want != "" {
					assert.Equal(t, tc.want, conn.(open).to)
				}
				synctest.Wait()
				assert.EqualValues(t, 1, n.open.Load(), "connections that are open")
			})
		})
	}
}

func dead(n int, last string) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("192.0.2.%d", i+1))
	}
	return append(all, last)
}

func TestWhatCannotBeReached(t *testing.T) {
	refuses := map[string]time.Duration{"192.0.2.1": -time.Millisecond, "192.0.2.2": -time.Millisecond}
	for name, tc := range map[string]struct {
		n        *network
		endpoint string
		want     string
		within   time.Duration
		tried    int
	}{
		"one":            {&network{}, "192.0.2.9:1", "dial tcp 192.0.2.9:1: i/o timeout", testConnect, 1},
		"two refuse":     {&network{addresses: []string{"192.0.2.1", "192.0.2.2"}, hosts: refuses}, "name.example:1", "connection refused (and 1 other addresses of the name failed)", 2 * time.Millisecond, 2},
		"no address":     {&network{}, "name.example:1", "lookup name.example: the name has no address", 0, 0},
		"resolver hangs": {&network{slow: time.Hour}, "name.example:1", "i/o timeout", testResolve, 0},
		"no port":        {&network{}, "name.example", "address name.example: missing port in address", 0, 0},
		"too many":       {&network{addresses: dead(100, "192.0.2.200")}, "name.example:1", "i/o timeout", 4750 * time.Millisecond, maxAddresses},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := tc.n.dialer().TCP(t.Context(), tc.endpoint)
				require.ErrorContains(t, err, tc.want)
				assert.Equal(t, tc.within, time.Since(start))
				assert.EqualValues(t, tc.tried, tc.n.tried.Load())
			})
		})
	}
}

// TestANameWithManyAddresses: of more than are tried, others are each time, so that the
// one that is there is found.
func TestANameWithManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{addresses: dead(2*maxAddresses, "198.51.100.1"), hosts: map[string]time.Duration{"198.51.100.1": time.Millisecond}}
		for range 1000 {
			if conn, err := n.dialer().TCP(t.Context(), "name.example:1"); err == nil {
				require.NoError(t, conn.Close())
				return
			}
		}
		t.Error("never tried")
	})
}

func TestCancelledAtOnce(t *testing.T) {
	for name, n := range map[string]*network{
		"resolving": {slow: time.Hour}, "connecting": {addresses: []string{"192.0.2.1", "192.0.2.2"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				_, err := n.dialer().TCP(ctx, "name.example:30090")
				assert.Error(t, err)
				assert.Equal(t, time.Second, time.Since(start))
			})
		})
	}
}

// TestRealAddress: without replacements, the dialer uses TCP and the resolver of the system.
func TestRealAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	d := Dialer{Resolve: testResolve, Connect: testConnect}
	conn, err := d.TCP(t.Context(), listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, listener.Close())
	_, err = d.TCP(t.Context(), listener.Addr().String())
	require.ErrorContains(t, err, "connect: connection refused")
}
