package keys

import (
	"context"
	"errors"
)

// Pair is what a key source delivers: the key of the disk and the secret from
// which the cluster ID follows.
type Pair struct {
	Disk        DiskKey
	Measurement MeasurementSecret
	// Sender is whoever delivered it, as the source tells its senders apart: those who
	// have sent wrong keys stand behind the others. It may be empty and is not checked.
	Sender string
}

// NewPair copies both. It fails with ErrLength unless each has 32 bytes.
func NewPair(diskKey, measurementSecret []byte) (Pair, error) {
	key, keyErr := NewDiskKey(diskKey)
	measurement, measurementErr := NewMeasurementSecret(measurementSecret)
	if err := errors.Join(keyErr, measurementErr); err != nil {
		key.Wipe()
		measurement.Wipe()
		return Pair{}, err
	}
	return Pair{Disk: key, Measurement: measurement}, nil
}

// Clone returns a copy that outlives a Wipe of p.
func (p Pair) Clone() Pair {
	return Pair{Disk: p.Disk.Clone(), Measurement: p.Measurement.Clone(), Sender: p.Sender}
}

// Wipe overwrites both secrets.
func (p Pair) Wipe() { p.Disk.Wipe(); p.Measurement.Wipe() }

// What a Prove returns besides nil and failures of the disk itself.
var (
	// ErrWrongKey reports a key that does not open the disk. The wait goes on.
	ErrWrongKey = errors.New("the key does not open the state disk")
	// ErrDecided reports a candidate that came after another one had won.
	ErrDecided = errors.New("the state disk has already got its key")
)

// Prove tries a candidate against the disk without mapping it. Nil means that
// this pair is the one and the wait is over; ErrWrongKey and ErrDecided are
// for the sender of the candidate; any other error is a failure of the disk.
// Prove keeps copies: the caller wipes its own pair.
type Prove func(ctx context.Context, candidate Pair) error
