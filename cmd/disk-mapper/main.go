// disk-mapper runs in the initrd of a confidential VM and brings up its
// encrypted state disk. See run for what it does, and setup.Run for the order.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	if err := harden(); err != nil {
		fmt.Fprintln(os.Stderr, "disk-mapper:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}
