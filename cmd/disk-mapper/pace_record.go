package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"disk-mapper/setup"

	"golang.org/x/sys/unix"
)

// paceFile is where a growth leaves its pace, for everybody. Beside it, the growth
// holds a lock, so that there is one only, on a file that nobody but root can open:
// who can open a file can keep others from locking it.
const paceFile = "/run/disk-mapper/grow.json"

func lockFile(paceFile string) string { return strings.TrimSuffix(paceFile, ".json") + ".lock" }

type paceRecord struct{ file, lock *os.File }

// recordedPace is the content of the file.
type recordedPace struct {
	Percent   int64   `json:"progressPercent"`
	Rate      float64 `json:"rateMiBPerSecond"`
	Remaining float64 `json:"remainingSeconds"`
}

// startPaceRecord fails if another growth runs.
func startPaceRecord(path string) (*paceRecord, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(lockFile(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &whole); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is locked, another disk-mapper grow runs: %w", lock.Name(), err), lock.Close())
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &paceRecord{f, lock}, nil
}

func (r *paceRecord) write(p setup.Pace) error {
	raw, err := json.Marshal(recordedPace{p.Percent, p.Rate, p.Remaining.Seconds()})
	if err != nil {
		return err
	}
	if _, err := r.file.WriteAt(raw, 0); err != nil {
		return err
	}
	return r.file.Truncate(int64(len(raw)))
}

// end gives the lock back; the record is of no use without it.
func (r *paceRecord) end() {
	_ = r.file.Close()
	_ = r.lock.Close()
}

// readPace is the pace of the growth that runs; ok is false if none does. It locks
// nothing.
func readPace(path string) (p setup.Pace, ok bool, err error) {
	if ok, err := locked(lockFile(path)); err != nil || !ok {
		return setup.Pace{}, false, err
	}
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return setup.Pace{}, false, err
	}
	var r recordedPace
	if json.Unmarshal(raw, &r) != nil {
		return setup.Pace{}, true, nil // it has just begun
	}
	return setup.Pace{Percent: r.Percent, Rate: r.Rate, Remaining: time.Duration(r.Remaining * float64(time.Second))}, true, nil
}

// locked reports whether anybody holds a lock on a file, which it asks for without
// taking one.
func locked(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking whether disk-mapper grow runs: %w", err)
	}
	defer f.Close()
	whole := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &whole); err != nil {
		return false, fmt.Errorf("asking whether %s is locked: %w", path, err)
	}
	return whole.Type != unix.F_UNLCK, nil
}
