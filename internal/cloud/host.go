package cloud

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"disk-mapper/internal/printable"
)

// ErrHost reports something that is no usable host: neither a literal unicast
// address of another machine nor a plain host name.
var ErrHost = errors.New("not a usable host")

const maxHostName = 253

// A label as in RFC 1123; the last one starts with a letter, so that no other
// spelling of an IP address (127.1, 0x7f000001) passes for a name.
var hostName = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.?$`)

// parseHost accepts a literal address or a host name, without a port, and
// returns the form to dial. It fails with ErrHost.
func parseHost(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr, err = usable(s, addr)
		return addr.String(), err
	}
	local := strings.EqualFold(strings.TrimSuffix(s, "."), "localhost")
	if local || len(s) > maxHostName || !hostName.MatchString(s) {
		return "", fmt.Errorf("%s: %w", printable.Quote(s), ErrHost)
	}
	return s, nil
}

// parseAddress accepts a literal address only. It fails with ErrHost.
func parseAddress(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s: %w", printable.Quote(s), ErrHost)
	}
	return usable(s, addr)
}

// usable refuses addresses that can only be this machine, its link or its
// platform's metadata service.
func usable(s string, addr netip.Addr) (netip.Addr, error) {
	addr = addr.Unmap()
	if addr.Zone() != "" || !addr.IsGlobalUnicast() {
		return netip.Addr{}, fmt.Errorf("%s: %w", printable.Quote(s), ErrHost)
	}
	return addr, nil
}
