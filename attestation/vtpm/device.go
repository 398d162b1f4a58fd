package vtpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/go-tpm/legacy/tpm2"
)

// patience bounds how long one command is repeated that the TPM puts off.
const patience = 10 * time.Second

const (
	headerSize  = 10
	maxResponse = 4096
)

// putOff lists the response codes after which the same command may succeed a
// little later.
var putOff = map[uint32]string{
	warning(tpm2.RCRetry):        "TPM_RC_RETRY",
	warning(tpm2.RCYielded):      "TPM_RC_YIELDED",
	warning(tpm2.RCTesting):      "TPM_RC_TESTING",
	warning(tpm2.RCObjectMemory): "TPM_RC_OBJECT_MEMORY",
}

func warning(code tpm2.RCWarn) uint32 { return 0x900 | uint32(code) }

// device is a TPM as the library wants it, one Read after each Write, that
// repeats what the TPM puts off. It is not safe for concurrent use.
type device struct {
	raw      io.ReadWriteCloser
	response []byte
}

func (d *device) Write(command []byte) (int, error) {
	response, err := d.persist(command)
	if err != nil {
		return 0, err
	}
	d.response = response
	return len(command), nil
}

func (d *device) Read(p []byte) (int, error) {
	n := copy(p, d.response)
	if n < len(d.response) {
		return n, io.ErrShortBuffer
	}
	d.response = nil
	return n, nil
}

// persist sends command until it is carried out or refused for good.
func (d *device) persist(command []byte) ([]byte, error) {
	end := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		response, err := d.exchange(command)
		if err != nil {
			return nil, fmt.Errorf("talking to the TPM: %w", err)
		}
		reason, again := putOff[responseCode(response)]
		if !again {
			return response, nil
		}
		if time.Now().Add(pause).After(end) {
			return nil, fmt.Errorf("TPM puts the command off for %v: %s", patience, reason)
		}
		time.Sleep(pause)
	}
}

func (d *device) exchange(command []byte) ([]byte, error) {
	if _, err := d.raw.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, maxResponse)
	n, err := io.ReadAtLeast(d.raw, response, headerSize)
	if err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(response[2:])
	if size < headerSize || size > maxResponse || n > int(size) {
		return nil, fmt.Errorf("response of %d bytes claims to have %d", n, size)
	}
	_, err = io.ReadFull(d.raw, response[n:size])
	return response[:size], err
}

func responseCode(response []byte) uint32 { return binary.BigEndian.Uint32(response[6:]) }

// explain puts in words the two states of a TPM that look like a fault of ours.
// It is for who has the turn.
func (t *TPM) explain(err error) error {
	if failure, ok := errors.AsType[tpm2.Error](err); ok && failure.Code == tpm2.RCFailure {
		return fmt.Errorf("TPM failure mode: %w", err)
	}
	if refusal, ok := errors.AsType[tpm2.Warning](err); ok && refusal.Code == tpm2.RCLockout && !errors.Is(err, ErrLockout) {
		return fmt.Errorf("%w: %w", t.lockout(), err)
	}
	return err
}
