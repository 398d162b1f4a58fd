// Package setup is the boot of a node as far as its state disk is concerned: a
// new disk is formatted; a disk that has joined a cluster waits for its key,
// is unlocked and measured, and is handed over to systemd.
//
// Trust boundary: a key counts only when it has been proven against the disk,
// and nobody else sees what is on a disk before the cluster ID is in the PCR.
// What a disk, a key source or a PCR is, others say: this package knows the
// order of the steps, and what to undo when one fails.
package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"disk-mapper/internal/keys"

	"go.uber.org/zap"
)

// Disk is the state disk. It is either new or joined; a disk that is neither
// must not get here.
type Disk interface {
	ID() keys.DiskID
	Path() string
	Joined() bool
	// Format makes a new disk under key; progress counts bytes.
	Format(ctx context.Context, key keys.DiskKey, progress func(done, total int64)) error
	// Prove fails with keys.ErrWrongKey if key does not open the disk. It takes up
	// to some seconds.
	Prove(key keys.DiskKey) error
	// Unlock maps the disk, or fails and leaves nothing mapped.
	Unlock(ctx context.Context, key keys.DiskKey) error
	// HeaderSalt is what the header says, which whoever writes the disk can change;
	// ok is false if it says nothing.
	HeaderSalt() (salt keys.MeasurementSalt, ok bool)
	// PrivateSalt reads the salt from the file system of a disk that is not mapped,
	// through a mapping that nobody else looks at and that is gone afterwards.
	PrivateSalt(ctx context.Context, key keys.DiskKey) (keys.MeasurementSalt, error)
	// MappedSalt reads the salt from the file system of the mapped disk.
	MappedSalt(ctx context.Context) (keys.MeasurementSalt, error)
	Close() error
}

// Source delivers candidates for the key of a disk. Offer blocks until ctx ends
// and then returns within two seconds; it returns earlier only if it can deliver
// nothing any more.
type Source interface {
	Offer(ctx context.Context, disk keys.DiskID, prove keys.Prove) error
}

// Counter is a Source that can say in numbers what it is doing, at any time. The
// names are those of fields of the log.
type Counter interface {
	Counts() map[string]int
}

// Register takes the cluster ID: a PCR that is zero before and is read back.
type Register interface {
	Extend(ctx context.Context, id keys.ClusterID) error
}

// Boot is what one run of the daemon works with.
type Boot struct {
	Disk     Disk
	Sources  []Source
	Register Register
	Handover Handover
	// Status tells the service manager in words what is going on.
	Status func(string)
	Log    *zap.Logger
}

// Run ends when the disk is mapped and handed over, or with an error when that
// cannot be; then nothing is mapped and no key is left behind.
func (b Boot) Run(ctx context.Context) error {
	b.Log = b.Log.Named("setupManager")
	if b.Disk.Joined() {
		return b.openJoined(ctx)
	}
	return b.prepareNew(ctx)
}

// prepareNew formats. The key goes into its file before the disk changes, so
// that there is no mapped disk without a key for the bootstrapper.
func (b Boot) prepareNew(ctx context.Context) error {
	b.Log.Info("Preparing new state disk", zap.String("device", b.Disk.Path()))
	key := keys.RandomDiskKey()
	defer key.Wipe()
	if err := b.Handover.SaveKey(key); err != nil {
		return err
	}
	if err := b.mapNew(ctx, key); err != nil {
		return errors.Join(err, b.Handover.RemoveKey())
	}
	return nil
}

func (b Boot) mapNew(ctx context.Context, key keys.DiskKey) error {
	p, start := beginPhases(), time.Now()
	if err := b.Disk.Format(ctx, key, b.logWipe(start)); err != nil {
		return err
	}
	b.Log.Info("Wiping disk successful", zap.Duration("duration", time.Since(start)))
	p.end("format")
	if err := b.Disk.Unlock(ctx, key); err != nil {
		return err
	}
	p.end("unlock")
	if err := b.Handover.SaveUnit(b.Disk.Path()); err != nil {
		return errors.Join(err, b.Disk.Close())
	}
	b.ready(p)
	return nil
}

// openJoined: key proven, salt known, cluster ID measured, disk mapped, salt
// compared, handed over. No metadata of the disk is written.
func (b Boot) openJoined(ctx context.Context) error {
	b.Log.Info("Preparing existing state disk", zap.String("device", b.Disk.Path()), zap.Stringer("uuid", b.Disk.ID()))
	p := beginPhases()
	pair, err := b.firstProven(ctx)
	if err != nil {
		return err
	}
	defer pair.Wipe()
	p.end("wait")
	b.Status("Unlocking state disk")
	salt, err := b.salt(ctx, pair.Disk)
	if err != nil {
		return err
	}
	if err := b.measure(ctx, pair.Measurement, salt); err != nil {
		return err
	}
	p.end("measure")
	if err := b.Disk.Unlock(ctx, pair.Disk); err != nil {
		return err
	}
	if err := b.handOver(ctx, salt); err != nil {
		return errors.Join(err, b.Disk.Close())
	}
	p.end("unlock")
	b.ready(p)
	return nil
}

// salt prefers the header's: then nothing parses the file system before the
// cluster ID is measured. It is compared with the file system's later.
func (b Boot) salt(ctx context.Context, key keys.DiskKey) (keys.MeasurementSalt, error) {
	if salt, ok := b.Disk.HeaderSalt(); ok {
		return salt, nil
	}
	return b.Disk.PrivateSalt(ctx, key)
}

// measure puts the cluster ID into the PCR. Until it has, the machine looks like
// one that belongs to no cluster.
func (b Boot) measure(ctx context.Context, secret keys.MeasurementSecret, salt keys.MeasurementSalt) error {
	id, err := keys.NewClusterID(secret, salt)
	if err != nil {
		return err
	}
	defer id.Wipe()
	if err := b.Register.Extend(ctx, id); err != nil {
		return fmt.Errorf("measuring the cluster ID: %w", err)
	}
	return nil
}

var errOtherSalt = errors.New("the cluster ID that was measured is not that of this disk: the salt in its header is not the one in its node_state.json. " +
	"The header was changed, or comes from another disk. Nothing was handed over; the PCR keeps the wrong ID until the machine restarts, which does not help. Restore the disk's own header from a backup")

// handOver gives the mapped disk away if its file system, which is
// authenticated, holds the salt that was measured.
func (b Boot) handOver(ctx context.Context, measured keys.MeasurementSalt) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	salt, err := b.Disk.MappedSalt(ctx)
	if err != nil {
		return fmt.Errorf("comparing the salt that was measured: %w", err)
	}
	if !bytes.Equal(salt.Bytes(), measured.Bytes()) {
		return errOtherSalt
	}
	return b.Handover.SaveUnit(b.Disk.Path())
}
