// demo tells the story of one node of a cluster on the terminal: its disk is
// formatted and joins, the node restarts and rejoins by itself, restarts again
// and is recovered by its operator. All parts are real; every step is checked.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"disk-mapper/internal/vmtest"

	"golang.org/x/sys/unix"
)

// patience is for the slowest machine that may run this, without KVM.
const patience = 10 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	image, err := vmtest.FindImage()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "disk-mapper-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return tell(ctx, image, dir, "build", os.Stdout)
}
