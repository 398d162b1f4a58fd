package recoveryserver

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// slow is an issuer that takes a second.
type slow struct{ quoting }

func (s slow) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	time.Sleep(time.Second)
	return s.quoting.Issue(ctx, userData, nonce)
}

// Strangers' handshakes leave the TPM to others in between.
func TestQuotesAreMadeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		issuer := &turnstile{Issuer: slow{}, serving: t.Context(), turn: make(chan struct{}, maxQuotes), log: zap.NewNop()}
		var handshakes sync.WaitGroup
		for range 5 {
			handshakes.Go(func() {
				_, err := issuer.Issue(t.Context(), []byte("key"), []byte("nonce"))
				assert.NoError(t, err)
			})
		}
		handshakes.Wait()
		assert.Equal(t, 5*time.Second/maxQuotes, time.Since(start))
	})
}

func TestHandshakeThatIsGivenUpLeavesTheQueue(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	issuer := &turnstile{Issuer: slow{}, serving: t.Context(), turn: make(chan struct{}), log: zap.NewNop()}
	_, err := issuer.Issue(ended, nil, nil)
	require.ErrorIs(t, err, context.Canceled)
}
