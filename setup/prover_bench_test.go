package setup

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/require"
)

// countedDisk counts proofs, which take a hundredth of what they would.
type countedDisk struct {
	world
	proofs atomic.Int32
}

func (d *countedDisk) Prove(key keys.DiskKey) error {
	d.proofs.Add(1)
	time.Sleep(proofTime / 100)
	if !bytes.Equal(key.Bytes(), d.key.Bytes()) {
		return keys.ErrWrongKey
	}
	return nil
}

// BenchmarkRightKeyBehindWrongOnes counts the proofs until a right key by recover is
// proven, behind 255 endpoints that send wrong keys without end. Goal: 2, the one that
// is being made and its own.
func BenchmarkRightKeyBehindWrongOnes(b *testing.B) {
	good, err := keys.NewPair(bytes.Repeat([]byte{1}, keys.Size), make([]byte, keys.Size))
	require.NoError(b, err)
	wrong, err := keys.NewPair(make([]byte, keys.Size), make([]byte, keys.Size))
	require.NoError(b, err)
	most := int32(0)
	for b.Loop() {
		disk := &countedDisk{world: world{key: good.Disk}}
		p := newProver(disk, 2)
		ctx, cancel := context.WithCancel(b.Context())
		for i := range 255 {
			rogue := wrong
			rogue.Sender = fmt.Sprint(i)
			go func() {
				for p.from(1)(ctx, rogue) != nil && ctx.Err() == nil {
				}
			}()
		}
		for disk.proofs.Load() < 3 {
			time.Sleep(time.Millisecond)
		}
		before := disk.proofs.Load() - 1 // the one that is being made counts
		require.NoError(b, p.from(0)(ctx, good))
		most = max(most, disk.proofs.Load()-before)
		cancel()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(most), "proofs-at-most")
	b.ReportMetric(2, "goal")
}
