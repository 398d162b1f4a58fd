//go:build cgo

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/logging"

	"github.com/stretchr/testify/assert"
)

// ofInterfaces are what net.InterfaceAddrs says.
func ofInterfaces(prefixes ...string) (found []net.Addr) {
	for _, p := range prefixes {
		prefix := netip.MustParsePrefix(p)
		found = append(found, &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())})
	}
	return found
}

func TestTheNetworkIsWaitedFor(t *testing.T) {
	const loopback4, loopback6, link6 = "127.0.0.1/8", "::1/128", "fe80::1/64"
	for name, tt := range map[string]struct {
		first, then []string
		err         error
		waits       time.Duration
		says        string
	}{
		"there at once":    {first: []string{loopback4, "10.9.0.4/24"}},
		"IPv6 only":        {first: []string{loopback6, link6, "2001:db8::4/64"}},
		"link-local IPv4":  {first: []string{loopback4, "169.254.3.4/16"}},
		"unique local":     {first: []string{"fd00::4/64"}},
		"comes later":      {first: []string{loopback4, link6}, then: []string{loopback4, "10.9.0.4/24"}, waits: pollInterval},
		"none but its own": {first: []string{loopback4, loopback6, link6}, waits: networkTimeout, says: link6},
		"cannot be asked":  {err: errors.New("no netlink"), waits: networkTimeout, says: "no netlink"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var screen bytes.Buffer
				now, start := tt.first, time.Now()
				awaitNetwork(t.Context(), func() ([]net.Addr, error) {
					found := ofInterfaces(now...)
					if tt.then != nil {
						now = tt.then
					}
					return found, tt.err
				}, logging.New(&screen, 0))
				assert.Equal(t, tt.waits, time.Since(start))
				assert.Equal(t, tt.says != "", bytes.Contains(screen.Bytes(), []byte("no network address yet")))
				assert.Contains(t, screen.String(), tt.says)
			})
		})
	}
}

func TestTheNetworkIsNotWaitedForAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		awaitNetwork(ctx, func() ([]net.Addr, error) { return nil, nil }, logging.New(&screen, 0))
		assert.Equal(t, time.Second, time.Since(start))
		assert.Empty(t, screen.String())
	})
}
