package setup

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const proofTime = 2 * time.Second

// slowDisk is proven in proofTime, and writes down in which order.
type slowDisk struct {
	world
	order []byte // first byte of each key
}

func (d *slowDisk) Prove(key keys.DiskKey) error {
	d.order = append(d.order, key.Bytes()[0])
	time.Sleep(proofTime)
	if !bytes.Equal(key.Bytes(), d.key.Bytes()) {
		return keys.ErrWrongKey
	}
	return nil
}

func isProving(p *prover) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proving
}

func pairOf(t *testing.T, first byte, sender string) keys.Pair {
	t.Helper()
	key := bytes.Repeat([]byte{first}, keys.Size)
	pair, err := keys.NewPair(key, key)
	require.NoError(t, err)
	pair.Sender = sender
	return pair
}

// flood makes senders of wrong keys, each of which sends another one as soon as it
// is refused, for ever.
func flood(ctx context.Context, t *testing.T, senders int, prove keys.Prove) {
	t.Helper()
	for i := range senders {
		pair := pairOf(t, 0, fmt.Sprint("rogue ", i))
		go func() {
			for ctx.Err() == nil && prove(ctx, pair) == keys.ErrWrongKey { //nolint:errorlint // exactly that
			}
		}()
	}
}

// TestRightKeyBehindWrongOnes: whatever the other source's senders do, and those of
// its own that have shown what they are, a right key is proven within two proofs.
func TestRightKeyBehindWrongOnes(t *testing.T) {
	const recovery, rejoin, third = 0, 1, 2
	for name, tc := range map[string]struct {
		floods []int // sources
		from   int
		after  int // proofs
	}{
		"recover behind 255 endpoints":            {[]int{rejoin}, recovery, 3},
		"recover, at once":                        {[]int{rejoin}, recovery, 0},
		"rejoin behind 255 callers":               {[]int{recovery}, rejoin, 3},
		"rejoin, behind its own known liars":      {[]int{rejoin}, rejoin, 255},
		"recover, behind its own known liars":     {[]int{recovery}, recovery, 255},
		"behind known liars of its own and other": {[]int{recovery}, third, 300},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good := pairOf(t, 1, "honest")
				d := &slowDisk{world: world{joined: true, key: good.Disk}}
				p := newProver(d, 3)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				for _, source := range tc.floods {
					flood(ctx, t, 255, p.from(source))
				}
				time.Sleep(time.Duration(tc.after)*proofTime + proofTime/2)
				start := time.Now()
				require.NoError(t, p.from(tc.from)(ctx, good))
				assert.LessOrEqual(t, time.Since(start), 2*proofTime)
				cancel()
				synctest.Wait()
			})
		})
	}
}

// TestWhoHasNeverLiedGoesFirst: and a name of one source means nothing in another.
func TestWhoHasNeverLiedGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{world: world{joined: true, key: keys.RandomDiskKey()}}
		p := newProver(d, 2)
		send := func(source int, first byte, name string) {
			pair := pairOf(t, first, name)
			go func() { assert.ErrorIs(t, p.from(source)(t.Context(), pair), keys.ErrWrongKey) }()
			synctest.Wait()
		}
		send(0, 1, "liar")
		time.Sleep(proofTime)
		send(1, 10, "liar") // in the other source: nobody knows that name
		send(0, 2, "liar")
		send(0, 3, "new")
		send(0, 4, "newer")
		send(1, 11, "new")
		send(1, 12, "liar")
		time.Sleep(10 * proofTime)
		synctest.Wait()
		assert.Equal(t, []byte{1, 10, 3, 11, 4, 12, 2}, d.order)
	})
}

// TestWhoLeavesTheLineCostsNoProof: and is no liar.
func TestWhoLeavesTheLineCostsNoProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := pairOf(t, 1, "honest")
		d := &slowDisk{world: world{joined: true, key: good.Disk}}
		p := newProver(d, 1)
		for range 3 {
			go func() { assert.ErrorIs(t, p.from(0)(t.Context(), pairOf(t, 2, "liar")), keys.ErrWrongKey) }()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), proofTime/2)
			assert.ErrorIs(t, p.from(0)(ctx, good), context.DeadlineExceeded)
			cancel()
			time.Sleep(proofTime)
		}
		synctest.Wait()
		assert.Equal(t, []byte{2, 2, 2}, d.order)
		require.NoError(t, p.from(0)(t.Context(), good))
		assert.ErrorIs(t, p.from(0)(t.Context(), good), keys.ErrDecided)
	})
}

func TestLiarsAreBounded(t *testing.T) {
	p := newProver(&world{}, 1)
	for i := range 3 * maxSenders {
		p.remember(sender{0, fmt.Sprint(i)})
		require.LessOrEqual(t, len(p.liars), maxSenders)
	}
	assert.True(t, p.liars[sender{0, fmt.Sprint(3*maxSenders - 1)}])
}

// leakyDisk keeps what it was shown, as nobody should.
type leakyDisk struct {
	world
	shown [][]byte
}

func (d *leakyDisk) Prove(key keys.DiskKey) error {
	d.shown = append(d.shown, key.Bytes())
	return keys.ErrWrongKey
}

// TestKeysOfLosersAreWiped before the next one is proven.
func TestKeysOfLosersAreWiped(t *testing.T) {
	d := &leakyDisk{}
	p := newProver(d, 1)
	for i := range 2 {
		loser, err := keys.NewPair(bytes.Repeat([]byte{byte(i + 1)}, keys.Size), bytes.Repeat([]byte{9}, keys.Size))
		require.NoError(t, err)
		require.ErrorIs(t, p.from(0)(t.Context(), loser), keys.ErrWrongKey)
	}
	assert.NotContains(t, d.shown[0], byte(1))
}
