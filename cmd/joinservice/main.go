// Command joinservice hands attested nodes of one cluster the keys of their
// state disks.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/signal"
	"syscall"

	"disk-mapper/internal/logging"

	"go.uber.org/zap"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer context.AfterFunc(ctx, stop)() // a second signal kills, whatever hangs
	err := run(ctx, os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		logging.New(os.Stderr, 0).Named("joinService").Error("JoinService failed", zap.Error(err))
		os.Exit(1)
	}
}
