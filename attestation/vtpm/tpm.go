// Package vtpm speaks to the machine's TPM 2.0: it issues attestation documents,
// extends and reads PCRs, and reads NV indexes.
//
// Trust boundary: the host implements the vTPM. What it says is good for
// proving something to others and for noticing mistakes, not for decisions
// about secrets on this machine. Judging documents is attestation/verify.
package vtpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"disk-mapper/attestation"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"
	"golang.org/x/sys/unix"
)

// devices in the order of preference: the first one has the kernel's resource
// manager behind it, which swaps leaked handles out.
var devices = []string{"/dev/tpmrm0", "/dev/tpm0"}

const firmwareLog = "/sys/kernel/security/tpm0/binary_bios_measurements"

// TPM is an open TPM. All methods may be called concurrently; commands of
// different calls do not mix.
type TPM struct {
	device   *device
	eventLog func() ([]byte, error)
	turn     chan struct{}
	// aks are the attestation keys that are open. They belong to whoever has the
	// turn.
	aks map[attestation.Variant]*client.Key
	// separated is whether separate has been done. It belongs to the turn, too.
	separated bool
}

// Open opens /dev/tpmrm0 or, where that does not exist, /dev/tpm0. The error
// names each path tried.
func Open() (*TPM, error) {
	raw, err := openFirst(devices)
	if err != nil {
		return nil, fmt.Errorf("opening the TPM: %w", err)
	}
	return New(raw, func() ([]byte, error) { return os.ReadFile(firmwareLog) }), nil
}

// New returns a TPM over raw, a connection that the caller has opened and Close
// closes: a Write sends one command, and the Reads after it give its response.
// eventLog gives the firmware's log for each document, nil for none; while it
// fails, no document is issued.
func New(raw io.ReadWriteCloser, eventLog func() ([]byte, error)) *TPM {
	return &TPM{device: &device{raw: raw}, eventLog: eventLog, turn: make(chan struct{}, 1), aks: map[attestation.Variant]*client.Key{}}
}

// Close closes the device, under a running command if there is one; if there is
// none, it takes our keys out of the TPM first.
func (t *TPM) Close() error {
	select {
	case t.turn <- struct{}{}:
		t.closeKeys()
		<-t.turn
	default:
	}
	return t.device.raw.Close()
}

// ReadNV returns the contents of an NV index, read with the authorisation of
// the owner.
func (t *TPM) ReadNV(ctx context.Context, index uint32) ([]byte, error) {
	value, err := exclusively(ctx, t, func() ([]byte, error) {
		return tpm2.NVReadEx(t.device, tpmutil.Handle(index), tpm2.HandleOwner, "", 0)
	})
	if err != nil {
		return nil, fmt.Errorf("reading NV index %#x: %w", index, err)
	}
	return value, nil
}

func openFirst(paths []string) (*os.File, error) {
	var failed error
	for _, path := range paths {
		// os.OpenFile would make the descriptor non-blocking, and then a read
		// straight after a write finds no response.
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		err = &fs.PathError{Op: "open", Path: path, Err: err}
		if failed = join(failed, err); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, failed
}

// join keeps both on one line, because they end up in one log field.
func join(first, second error) error {
	if first == nil {
		return second
	}
	return fmt.Errorf("%w; %w", first, second)
}

// exclusively runs op when it is this caller's turn. It returns as soon as ctx
// ends, also in the middle of op: a TPM command cannot be called back, so an
// abandoned op runs to its end and only then passes the turn on.
func exclusively[T any](ctx context.Context, t *TPM, op func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("waiting for the TPM: %w", err)
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return none, fmt.Errorf("waiting for the TPM: %w", ctx.Err())
	}
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := op()
		err = t.explain(err)
		<-t.turn // before anybody can take op for done
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return none, fmt.Errorf("waiting for a TPM command: %w", ctx.Err())
	}
}
