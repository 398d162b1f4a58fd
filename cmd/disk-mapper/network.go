package main

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"
)

// networkTimeout is for DHCP; whoever has no address by then asks all the same, and again.
const networkTimeout = 10 * time.Second

// awaitNetwork waits until the machine has one address that others can reach, whichever
// interface has it: the first question of the sources is then not in vain. It
// is the daemon that waits, not its unit: a new disk needs no network.
func awaitNetwork(ctx context.Context, addresses func() ([]net.Addr, error), log *zap.Logger) {
	var found []net.Addr
	var err error
	ended := poll(ctx, networkTimeout, func() bool {
		found, err = addresses()
		return slices.ContainsFunc(found, reachesOthers)
	})
	if errors.Is(ended, errNotInTime) {
		log.Warn("This machine has no network address yet, nobody can send the key", zap.Stringers("addresses", found), zap.Error(err))
	}
}

// reachesOthers is not for what each interface has of its own: IPv6's link-local ones.
func reachesOthers(address net.Addr) bool {
	prefix, ok := address.(*net.IPNet)
	return ok && !prefix.IP.IsLoopback() && (prefix.IP.To4() != nil || !prefix.IP.IsLinkLocalUnicast())
}
