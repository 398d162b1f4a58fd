package disk

import (
	"context"
	"errors"
	"fmt"
	"os"

	"disk-mapper/internal/printable"
)

// OpenNonzero is Open for platforms that hand out disks which are not zeros. It
// also returns a disk with data from its first sector on if nothing recognises
// that data, neither this package nor libblkid: it is Unrecognised, and Format
// takes it. A disk that begins with zeros is refused as by Open: it may have lost
// its start, and then its data can be brought back.
func OpenNonzero(ctx context.Context, path string) (*Device, error) {
	d, err := Open(ctx, path)
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok || !refusal.Unrecognised() {
		return d, err
	}
	found, err := answered(ctx, path, func() (string, error) { return recognise(path) })
	if err != nil {
		return nil, err
	}
	if found != "" {
		return nil, untouched(path, &Refusal{"signature", printable.Text(found) + ", as libblkid says", "LUKS2, or none", Foreign})
	}
	return measureUnrecognised(path)
}

// Unrecognised is for the refusal of data that has no name, from the first sector on.
func (r *Refusal) Unrecognised() bool { return r.Field == fieldZeros && r.Meaning == Foreign }

func measureUnrecognised(path string) (*Device, error) {
	return onSnapshot(path, func(s snapshot) (*Device, error) {
		return &Device{path: path, size: s.size, state: Unrecognised}, nil
	})
}

// recognise asks libblkid what is on the disk at path; empty for nothing.
func recognise(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	found, err := probe(f)
	if err != nil {
		return "", fmt.Errorf("asking libblkid about %s: %w", path, err)
	}
	return found, nil
}
