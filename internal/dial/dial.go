// Package dial connects to a name by TCP as RFC 8305 does ("happy eyeballs"): all
// addresses of the name, of both families in turns, each a little after the one
// before, and the first connection counts. So an address that is dead costs the
// others nothing but that little.
//
// Trust boundary: what a name resolves to, and who is there, is nobody's word.
package dial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxAddresses bounds what is tried of one name: of more, others each time.
	maxAddresses = 16
	// stagger is how long an address is tried alone, unless it fails before: as RFC
	// 8305 recommends.
	stagger = 250 * time.Millisecond
)

// ErrNoAddress reports a name that resolves to nothing.
var ErrNoAddress = errors.New("the name has no address")

// Dialer has a limit for each step, so that none uses up the time of another.
type Dialer struct {
	Resolve time.Duration // to find the addresses of a name
	Connect time.Duration // to reach one address

	lookUp func(ctx context.Context, network, host string) ([]netip.Addr, error) // nil: the system's resolver
	dial   func(ctx context.Context, network, address string) (net.Conn, error)  // nil: TCP
}

// TCP connects to HOST:PORT. If no address can be reached, it fails as the one
// that failed first, and says how many others failed.
func (d Dialer) TCP(ctx context.Context, endpoint string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return nil, err
	}
	addresses, err := d.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	return d.race(ctx, addresses, port)
}

func (d Dialer) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if literal, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{literal}, nil
	}
	lookUp := d.lookUp
	if lookUp == nil {
		lookUp = net.DefaultResolver.LookupNetIP
	}
	ctx, cancel := context.WithTimeout(ctx, d.Resolve)
	defer cancel()
	found, err := lookUp(ctx, "ip", host)
	if err == nil && len(found) == 0 {
		err = &net.DNSError{Err: ErrNoAddress.Error(), Name: host, UnwrapErr: ErrNoAddress}
	}
	if err != nil {
		return nil, err
	}
	return inTurns(found), nil
}

// inTurns keeps the resolver's order within a family, and begins with its first.
func inTurns(found []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	first := found[0].Unmap().Is4()
	for _, a := range found {
		family := 0
		if a = a.Unmap(); a.Is4() != first {
			family = 1
		}
		families[family] = append(families[family], a)
	}
	var mixed []netip.Addr
	for i := range found {
		for _, family := range families {
			if i < len(family) {
				mixed = append(mixed, family[i])
			}
		}
	}
	if len(mixed) > maxAddresses {
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		mixed = mixed[:maxAddresses]
	}
	return mixed
}

type result struct {
	conn net.Conn
	err  error
}

// race starts the next address when one has failed or the stagger is over. Whoever
// connects after the first is closed.
func (d Dialer) race(ctx context.Context, addresses []netip.Addr, port string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	var tries sync.WaitGroup
	defer tries.Wait()
	defer cancel() // runs first
	results := make(chan result)
	var failed error
	var next <-chan time.Time
	started, failures := 0, 0
	start := func() {
		address := net.JoinHostPort(addresses[started].String(), port)
		tries.Go(func() { d.try(ctx, address, results) })
		next = nil
		if started++; started < len(addresses) {
			next = time.After(stagger)
		}
	}
	start()
	for failures < len(addresses) {
		select {
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			failed, failures = cmp.Or(failed, r.err), failures+1
		case <-next:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if started < len(addresses) {
			start()
		}
	}
	if failures > 1 {
		return nil, fmt.Errorf("%w (and %d other addresses of the name failed)", failed, failures-1)
	}
	return nil, failed
}

// try ends with ctx at the latest, whether anybody takes its result or not.
func (d Dialer) try(ctx context.Context, address string, results chan<- result) {
	dial := d.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	limited, cancel := context.WithTimeout(ctx, d.Connect)
	defer cancel()
	conn, err := dial(limited, "tcp", address)
	select {
	case results <- result{conn, err}:
	case <-ctx.Done():
		if err == nil {
			_ = conn.Close() // another one was first
		}
	}
}
