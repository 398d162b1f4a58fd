package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"disk-mapper/disk"
	"disk-mapper/internal/keys"
)

// look tells a header backup from a disk. One of the two results is there.
func look(ctx context.Context, path string) (*disk.Backup, disk.Report, error) {
	backup, err := disk.ReadBackup(ctx, path)
	if _, unreadable := errors.AsType[*fs.PathError](err); errors.Is(err, disk.ErrNoBackup) || unreadable {
		report, err := disk.Inspect(ctx, path)
		return nil, report, err
	}
	return backup, disk.Report{}, err
}

func verdictOn(path string, b *disk.Backup, r disk.Report) (verdict, int) {
	if b != nil {
		return newBackupVerdict(path, b)
	}
	return newVerdict(path, r)
}

func newBackupVerdict(path string, b *disk.Backup) (verdict, int) {
	return verdict{
		Device: path, AllowList: disk.AllowListVersion, Verdict: "header backup", Origin: b.Origin(), UUID: b.ID().String(), Findings: []disk.Finding{},
		Meaning: "This is no disk, it is the " + describeBackup(b) + ". Keep it: disk-mapper header restore puts it back on its disk.",
	}, exitBackup
}

// tried adds whether the master secret in the file opens what was looked at.
func (v verdict) tried(path string, r disk.Report, b *disk.Backup, status int) (verdict, int, error) {
	d := r.Device
	if b != nil {
		d = b.Device
	}
	if d == nil || d.ID() == (keys.DiskID{}) {
		return v, status, fmt.Errorf("%s is %s: it has no keyslot that a master secret could open", v.Device, v.Verdict)
	}
	err := opensWith(d, path)
	switch {
	case errors.Is(err, keys.ErrWrongKey):
		v.MasterSecret = "does not open it"
		return v, exitNoKey, nil
	case err != nil:
		return v, status, err
	}
	v.MasterSecret = "opens it"
	return v, status, nil
}
