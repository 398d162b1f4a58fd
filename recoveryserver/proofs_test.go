package recoveryserver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/fairlistener"
	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pauses{first: time.Second, longest: 5 * time.Second}
		for _, want := range []time.Duration{1e9, 2e9, 4e9, 5e9, 5e9} {
			require.NoError(t, p.check(prefix(1)))
			p.extend(prefix(1))
			require.Equal(t, pausing(want), p.check(prefix(1)))
			require.NoError(t, p.check(prefix(2)))
			time.Sleep(want)
		}
		time.Sleep(p.longest)
		p.extend(prefix(1))
		assert.Equal(t, pausing(time.Second), p.check(prefix(1)), "it has kept still")
		for host := range 2 * maxRemembered {
			p.extend(prefix(host))
		}
		assert.Len(t, p.networks, maxRemembered)
	})
}

// prefix is one of many networks.
func prefix(host int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(host >> 8), byte(host)}), 32)
}

// callers are connections from one address each.
func callers(t *testing.T, many int) []*fairlistener.Conn {
	t.Helper()
	return callersFrom(t, many, func(i int) net.IP { return net.IPv4(10, 0, byte(i>>8), byte(i)) })
}

func callersFrom(t *testing.T, many int, address func(int) net.IP) (all []*fairlistener.Conn) {
	t.Helper()
	raws := make(arrivals, many)
	listener := fairlistener.New(raws, connections)
	for i := range many {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		go func() { raws <- from{ours, &net.TCPAddr{IP: address(i)}} }()
		conn, err := listener.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		all = append(all, conn.(*fairlistener.Conn))
	}
	return all
}

// arrivals is a listener without a network.
type arrivals chan net.Conn

func (a arrivals) Accept() (net.Conn, error) { return <-a, nil }
func (arrivals) Close() error                { return nil }
func (arrivals) Addr() net.Addr              { return nil }

type from struct {
	net.Conn
	address net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.address }

// However many candidates come, one is proven at a time, few wait, and those
// that wait leave when the server stops.
func TestProofsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving, end := context.WithCancel(t.Context())
		proving := 0
		p := newProofs(serving, func(ctx context.Context, _ keys.Pair) error {
			proving++
			<-ctx.Done()
			return ctx.Err()
		}, production)
		ended := make(chan error, 3*maxWaiting)
		for _, conn := range callers(t, 3*maxWaiting) {
			go func() { ended <- p.try(t.Context(), conn, keys.Pair{}) }()
		}
		synctest.Wait()
		for range 2*maxWaiting - 1 {
			require.ErrorIs(t, <-ended, fairlistener.ErrBusy)
		}
		end()
		for range maxWaiting {
			require.ErrorIs(t, <-ended, context.Canceled)
		}
		synctest.Wait()
		require.Empty(t, ended, "the one that has begun goes on: it may be the winner")
		p.end()
		require.ErrorIs(t, <-ended, context.Canceled)
		assert.Equal(t, 1, proving)
	})
}

// Who waits in line has to pause as well, once another of its network was wrong.
func TestThoseInLinePauseToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proven := 0
		p := newProofs(t.Context(), func(context.Context, keys.Pair) error {
			proven++
			time.Sleep(200 * time.Millisecond)
			return keys.ErrWrongKey
		}, production)
		defer p.end()
		ended := make(chan error, maxWaiting)
		for _, conn := range callersFrom(t, maxWaiting, func(int) net.IP { return net.IPv4(192, 0, 2, 1) }) {
			go func() { ended <- p.try(t.Context(), conn, keys.Pair{}) }()
		}
		wrong := 0
		for range maxWaiting {
			if err := <-ended; errors.Is(err, keys.ErrWrongKey) {
				wrong++
			} else {
				require.ErrorAs(t, err, new(pausing))
			}
		}
		assert.Equal(t, 1, wrong)
		assert.Equal(t, 1, proven)
	})
}

// Who hangs up before the verdict pays as who waits for it: a pause that starts
// with the verdict, and the turn is not free before.
func TestWrongKeysArePaidForWhoeverListens(t *testing.T) {
	const proof = 200 * time.Millisecond
	for name, patience := range map[string]time.Duration{
		"waits for the verdict": time.Hour,
		"hangs up at once":      0,
		"hangs up before it":    proof - time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				proven := 0
				p := newProofs(t.Context(), func(ctx context.Context, _ keys.Pair) error {
					proven++
					select {
					case <-time.After(proof):
						return keys.ErrWrongKey
					case <-ctx.Done(): // as in setup: it counts all the same
						return ctx.Err()
					}
				}, production)
				defer p.end()
				conn := callers(t, 1)[0]
				for start := time.Now(); time.Since(start) < 6*time.Second; {
					ctx, hangUp := context.WithCancel(t.Context())
					forget := time.AfterFunc(max(patience, time.Nanosecond), hangUp)
					_ = p.try(ctx, conn, keys.Pair{})
					forget.Stop()
					hangUp()
					time.Sleep(time.Millisecond)
				}
				assert.Equal(t, 3, proven, "in 6 s, with pauses of 1, 2 and 4 s")
			})
		})
	}
}
