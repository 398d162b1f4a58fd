package recoveryserver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pauses{first: time.Second, longest: 5 * time.Second}
		for _, want := range []time.Duration{1e9, 2e9, 4e9, 5e9, 5e9} {
			require.NoError(t, p.check(at(1)))
			p.extend(at(1))
			require.Equal(t, pausing(want), p.check(at(1)))
			require.NoError(t, p.check(at(2)))
			time.Sleep(want)
		}
		time.Sleep(p.longest)
		p.extend(at(1))
		assert.Equal(t, pausing(time.Second), p.check(at(1)), "it has kept still")
		for host := range 2 * maxRemembered {
			p.extend(at(host))
		}
		assert.Len(t, p.networks, maxRemembered)
	})
}

// However many candidates come, one is proven at a time, few wait, and those
// that wait leave when the server stops.
func TestProofsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving, end := context.WithCancel(t.Context())
		proving := 0
		p := &proofs{serving: serving, prove: func(ctx context.Context, _ keys.Pair) error {
			proving++
			<-ctx.Done()
			return ctx.Err()
		}}
		listener := &cappedListener{counts: new(counts)}
		ctx, hangUp := context.WithCancel(t.Context())
		ended := make(chan error, 3*maxWaiting)
		for i := range 3 * maxWaiting {
			conn, _ := come(listener, byte(i))
			go func() { ended <- p.try(ctx, conn, keys.Pair{}) }()
		}
		synctest.Wait()
		for range 2*maxWaiting - 1 {
			require.ErrorIs(t, <-ended, errBusy)
		}
		end()
		for range maxWaiting {
			require.ErrorIs(t, <-ended, context.Canceled)
		}
		hangUp()
		require.ErrorIs(t, <-ended, context.Canceled)
		assert.Equal(t, 1, proving)
	})
}
