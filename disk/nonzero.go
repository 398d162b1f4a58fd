package disk

import (
	"context"
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
	r, err := Inspect(ctx, path)
	if err != nil {
		return nil, err
	}
	if r.Refusal == nil || !r.Refusal.Unrecognised() {
		return r.usable()
	}
	found, err := answered(ctx, path, r.judged.recognise)
	if err != nil {
		return nil, err
	}
	if found != "" {
		return nil, untouched(path, &Refusal{"signature", printable.Text(found) + ", as libblkid says", "LUKS2, or none", Foreign})
	}
	return &Device{identity: r.judged, state: Unrecognised}, nil
}

// Unrecognised is for the refusal of data that has no name, from the first sector on.
func (r *Refusal) Unrecognised() bool { return r.Field == fieldZeros && r.Meaning == Foreign }

// recognise asks libblkid what is on the disk; empty for nothing.
func (i identity) recognise() (string, error) {
	f, err := i.open(os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	found, err := probe(f)
	if err != nil {
		return "", fmt.Errorf("asking libblkid about %s: %w", i.path, err)
	}
	return found, nil
}
