package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"disk-mapper/setup"

	"golang.org/x/sys/unix"
)

// paceFile is where a growth leaves its pace. While one runs, it holds a lock on
// the file, so that there is one only.
const paceFile = "/run/disk-mapper/grow.json"

type paceRecord struct{ file *os.File }

// recordedPace is the content of the file.
type recordedPace struct {
	Rate      float64 `json:"rateMiBPerSecond"`
	Remaining float64 `json:"remainingSeconds"`
}

// startPaceRecord fails if another growth runs.
func startPaceRecord(path string) (*paceRecord, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is locked, another disk-mapper grow runs: %w", path, err), f.Close())
	}
	return &paceRecord{f}, nil
}

func (r *paceRecord) write(p setup.Pace) error {
	raw, err := json.Marshal(recordedPace{p.Rate, p.Remaining.Seconds()})
	if err != nil {
		return err
	}
	if _, err := r.file.WriteAt(raw, 0); err != nil {
		return err
	}
	return r.file.Truncate(int64(len(raw)))
}

// end gives the lock back; the file is of no use without it.
func (r *paceRecord) end() { _ = r.file.Close() }

// readPace is the pace of the growth that runs; ok is false if none does.
func readPace(path string) (p setup.Pace, ok bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return setup.Pace{}, false, nil
	}
	if err != nil {
		return setup.Pace{}, false, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return setup.Pace{}, false, err
	}
	var r recordedPace
	if err := json.NewDecoder(f).Decode(&r); err != nil {
		return setup.Pace{}, true, nil // it has just begun
	}
	return setup.Pace{Rate: r.Rate, Remaining: time.Duration(r.Remaining * float64(time.Second))}, true, nil
}
