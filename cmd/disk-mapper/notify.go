package main

import (
	"net"
)

// notifier returns a function that tells systemd what the daemon is doing, as
// sd_notify(3) describes; it does nothing outside a unit. A lost message is no
// reason to fail a boot.
func notifier(socket string) func(status string) {
	if socket == "" {
		return func(string) {}
	}
	if socket[0] == '@' { // the abstract name space
		socket = "\x00" + socket[1:]
	}
	return func(status string) {
		conn, err := net.Dial("unixgram", socket)
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("STATUS=" + status))
	}
}
