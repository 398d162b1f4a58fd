//go:build vm

package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"disk-mapper/internal/keys"

	"golang.org/x/sys/unix"
)

// mortal ends the process at one step: with SIGKILL, or as systemd asks it to end.
type mortal struct{ step, end string }

func newMortal() mortal {
	step, end, _ := strings.Cut(os.Getenv(killStep), "/")
	return mortal{step, end}
}

var errFailed = errors.New("failed on purpose")

// at is called at every step.
func (m mortal) at(ctx context.Context, step string) error {
	if step != m.step {
		return nil
	}
	switch m.end {
	case "fail":
		return errFailed
	case "term":
		_ = unix.Kill(os.Getpid(), unix.SIGTERM)
		<-ctx.Done()
		return nil
	}
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}

// mortalDisk is the real disk.
type mortalDisk struct {
	*stateDisk
	mortal
}

func (d mortalDisk) Format(ctx context.Context, key keys.DiskKey, progress func(done, total int64)) error {
	err := d.at(ctx, "key file")
	begun := false
	return errors.Join(err, d.stateDisk.Format(ctx, key, func(done, total int64) {
		if !begun {
			_ = d.at(ctx, "wipe begins")
		}
		begun = true
		if done >= total/2 {
			_ = d.at(ctx, "wipe")
		}
		progress(done, total)
	}), d.at(ctx, "format"))
}

func (d mortalDisk) Prove(key keys.DiskKey) error {
	return errors.Join(d.stateDisk.Prove(key), d.at(context.Background(), "proof"))
}

func (d mortalDisk) Unlock(ctx context.Context, key keys.DiskKey) error {
	if err := d.stateDisk.Unlock(ctx, key); err != nil {
		return err
	}
	return d.at(ctx, "unlock")
}

func (d mortalDisk) MappedSalt(ctx context.Context) (keys.MeasurementSalt, error) {
	salt, err := d.stateDisk.MappedSalt(ctx)
	return salt, errors.Join(err, d.at(ctx, "salt"))
}

func (d mortalDisk) Enroll(current, final keys.DiskKey, salt keys.MeasurementSalt) error {
	if err := d.stateDisk.Enroll(current, final, salt); err != nil {
		return err
	}
	return d.at(context.Background(), "header")
}

// mortalRegister stands for the TPM, which these tests do without.
type mortalRegister struct{ mortal }

func (r mortalRegister) Extend(ctx context.Context, _ keys.ClusterID) error {
	return errors.Join(ctx.Err(), r.at(ctx, "extend"))
}

// mortalSource has the key.
type mortalSource struct {
	mortal
	pair keys.Pair
}

func (s mortalSource) Offer(ctx context.Context, _ keys.DiskID, prove keys.Prove) error {
	return errors.Join(s.at(ctx, "waiting"), prove(ctx, s.pair))
}
