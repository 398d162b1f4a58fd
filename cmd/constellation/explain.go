package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// cannotAttest is the alert, as package tls words it, with which a node ends a
// handshake in which it cannot make its attestation.
const cannotAttest = "tls: internal error"

// explain turns the failure of a push into words for the operator. The result
// is errUnavailable or errNotReady if another attempt may help.
func (c caller) explain(err error, disk keys.DiskID, fault error) error {
	told, isStatus := status.FromError(err)
	if !isStatus { // ours, not from gRPC
		return fmt.Errorf("node at %s: %w", c.address, printable.Error(err))
	}
	if told.Code() == codes.Unavailable {
		return c.explainUnavailable(told, fault)
	}
	return c.explainRefusal(told, disk)
}

func (c caller) explainUnavailable(told *status.Status, fault error) error {
	if failed, ok := errors.AsType[handshakeFault](fault); ok {
		return c.explainHandshake(failed.error)
	}
	if unknown, ok := errors.AsType[*net.DNSError](fault); ok && unknown.IsNotFound {
		return fmt.Errorf("there is no host of this name: %w", unknown)
	}
	if fault != nil {
		return fmt.Errorf("%w at %s: %w", errUnavailable, c.address, printable.Error(fault))
	}
	return fmt.Errorf("%w at %s: %s", errUnavailable, c.address, quote(told))
}

// explainHandshake tells a network that is not ready from a node that is not
// what it should be.
func (c caller) explainHandshake(err error) error {
	if errors.Is(err, atls.ErrRefused) {
		return fmt.Errorf("the node at %s is not trusted and got no key: %w\n"+
			"Its attestation does not fit the expected measurements. Are they those of the image that the node runs, "+
			"and is --compat that of its release?", c.address, err)
	}
	err = printable.Error(err) // what is refused has done that itself, line by line
	network, isNetwork := errors.AsType[*net.OpError](err)
	switch {
	case isNetwork && (network.Op == "read" || network.Op == "write"), isDeadline(err):
		return fmt.Errorf("%w at %s: %w", errNotReady, c.address, err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w at %s: the connection was closed during the handshake", errUnavailable, c.address)
	case isNetwork && network.Err.Error() == cannotAttest:
		return fmt.Errorf("the node at %s cannot attest itself, and got no key (%w). "+
			"Its TPM is locked, which power cuts can bring about, or missing; the node does not tell its callers which. "+
			"If its serial console says \"TPM in DA lockout\", it also says for how long: leave the node powered on "+
			"for that time, since the lockout passes only while it runs, then try again", c.address, err)
	case isNetwork: // another TLS alert
		return fmt.Errorf("the node at %s broke off the handshake (%w): its serial console may say why", c.address, err)
	default:
		return fmt.Errorf("%s does not answer like a node; is it the recovery port of one? %w", c.address, err)
	}
}

func (c caller) explainRefusal(told *status.Status, disk keys.DiskID) error {
	if asksToWait(told) { // for too many others, or after wrong keys of ours
		return fmt.Errorf("%w at %s: the node asks to wait: %s", errNotReady, c.address, quote(told))
	}
	switch told.Code() {
	case codes.PermissionDenied:
		return fmt.Errorf("wrong key: the master secret in %s does not open state disk %s of the node at %s.\n"+
			"Check that this file is the master secret of the cluster that the node belongs to. "+
			"Nothing has changed on the node; it keeps waiting for its key.\n"+
			"The node said: %s", c.secretFile, disk, c.address, quote(told))
	case codes.Unauthenticated:
		return fmt.Errorf("the node at %s wants the proof of an operator's SSH key that its kernel command line names "+
			"(constel.recovery-authorized-key): name yours with --identity. The node said: %s", c.address, quote(told))
	case codes.FailedPrecondition, codes.Canceled: // the node no longer waits
		return fmt.Errorf("%w at %s: the node has its key already: %s", errUnavailable, c.address, quote(told))
	case codes.Unimplemented:
		return fmt.Errorf("%s is not the recovery port of a node: %s", c.address, quote(told))
	case codes.DeadlineExceeded:
		return fmt.Errorf("the node at %s took the call but did not answer within %v: its serial console may say why", c.address, c.pace.attempt)
	case codes.InvalidArgument:
		return fmt.Errorf("the node at %s did not understand the call: %s", c.address, quote(told))
	default:
		return fmt.Errorf("the node at %s failed (%v): %s: its serial console may say more", c.address, told.Code(), quote(told))
	}
}

func asksToWait(told *status.Status) bool {
	return slices.ContainsFunc(told.Details(), func(detail any) bool { _, ok := detail.(*errdetails.RetryInfo); return ok })
}

func isDeadline(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// quote shows what a peer said without letting it write to the terminal.
func quote(told *status.Status) string { return printable.Quote(told.Message()) }
