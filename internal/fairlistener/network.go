package fairlistener

import (
	"context"
	"net"
	"net/netip"
)

// levels are how many networks an address counts as: a /48, a /56 and a /64 of
// IPv6. An IPv4 address is all of them.
const levels = 3

// Network is what one peer can easily have: one IPv4 address, or a whole IPv6
// /48 with all that is in it. The zero value is that of peers whose address is not
// known. Networks can be compared.
type Network [levels]netip.Prefix // the widest first

// translated is where IPv6-only networks show IPv4 addresses (RFC 6052): without
// this, all of IPv4 would be one /48 there.
var translated = netip.MustParsePrefix("64:ff9b::/96")

// NetworkOf finds the network of a TCP peer.
func NetworkOf(addr net.Addr) Network {
	if addr == nil {
		return Network{}
	}
	parsed, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return Network{}
	}
	ip := parsed.Addr().Unmap().WithZone("")
	if translated.Contains(ip) {
		raw := ip.As16()
		ip = netip.AddrFrom4([4]byte(raw[12:]))
	}
	bits := [levels]int{48, 56, 64}
	if ip.Is4() {
		bits = [levels]int{32, 32, 32}
	}
	var n Network
	for level := range n {
		n[level], _ = ip.Prefix(bits[level]) // bits are in range
	}
	return n
}

type networkKey struct{}

// In returns a context for work that a peer of this network causes.
func (n Network) In(ctx context.Context) context.Context {
	return context.WithValue(ctx, networkKey{}, n)
}

// NetworkOfWork is the one for which work under ctx is done: the zero value if that is
// our own.
func NetworkOfWork(ctx context.Context) Network {
	n, _ := ctx.Value(networkKey{}).(Network)
	return n
}

// Widest is the network by which caps count: a /48, or an IPv4 address.
func (n Network) Widest() netip.Prefix { return n[0] }
