package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// What a push fails with if it may be worth another attempt. Every other
// failure is final.
var (
	// errUnavailable: no node takes calls. Tried once more for each node.
	errUnavailable = errors.New("no node answers")
	// errNotReady: a node asks to wait, or something drops connections, as load
	// balancers do until they have found the next node. Tried again and again.
	errNotReady = errors.New("no node answers yet")

	errInterrupted = errors.New("interrupted")
)

// pace is how long things may take.
type pace struct {
	pause    time.Duration // between two attempts
	dial     time.Duration // until a connection is attested
	attempt  time.Duration // for one attempt, connection included
	patience time.Duration // with a load balancer, once a node was recovered
}

// operatorPace gives a node time for a costly KDF, and a load balancer time to
// notice that a node no longer waits.
var operatorPace = pace{pause: 5 * time.Second, dial: 20 * time.Second, attempt: time.Minute, patience: 3 * time.Minute}

// recovery serves the waiting nodes behind one endpoint, one after the other.
type recovery struct {
	push  func(context.Context) error // to one node
	pace  pace
	out   io.Writer // for scripts
	notes io.Writer // for the operator
}

// run ends with nil once no node answers any more.
func (r recovery) run(ctx context.Context) error {
	recovered, err := r.nodes(ctx)
	if recovered > 0 {
		fmt.Fprintf(r.out, "Recovered %d control-plane nodes.\n", recovered)
	}
	if !errors.Is(err, errUnavailable) {
		return err
	}
	if recovered == 0 {
		fmt.Fprintf(r.notes, "Last attempt: %v\n", err)
		fmt.Fprintln(r.out, "No control-plane nodes in need of recovery found. Exiting.")
	}
	return nil
}

func (r recovery) nodes(ctx context.Context) (recovered int, err error) {
	patience := time.Duration(-1) // endless: the operator wants the first node
	for {
		if err := r.node(ctx, patience); err != nil {
			return recovered, err
		}
		recovered++
		patience = r.pace.patience
		fmt.Fprintln(r.out, "Pushed recovery key.")
	}
}

// node tries until one node has got its key. It bears with a load balancer
// that is not ready for as long as patience says, if that is not negative.
func (r recovery) node(ctx context.Context, patience time.Duration) error {
	start := time.Now()
	retried, told := false, false
	for {
		err := r.push(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return errInterrupted
		case errors.Is(err, errNotReady):
			if patience >= 0 && time.Since(start) >= patience {
				return fmt.Errorf("%w: %w", errUnavailable, err)
			}
			if !told {
				fmt.Fprintf(r.notes, "%v. Trying again every %v, Ctrl-C ends.\n", err, r.pace.pause)
				told = true
			}
		case errors.Is(err, errUnavailable) && !retried:
			retried = true
		default:
			return err
		}
		if !sleep(ctx, r.pace.pause) {
			return errInterrupted
		}
	}
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}
