// Command constellation is the operator's tool: it recovers the nodes of a
// cluster after a restart that the cluster could not heal by itself.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer context.AfterFunc(ctx, stop)() // a second Ctrl-C kills, whatever hangs
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		complain(os.Stderr, err)
		os.Exit(1)
	}
}
