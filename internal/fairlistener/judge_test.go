package fairlistener

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation/atls"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowJudge takes its time, as one does who waits to ask somebody else.
type slowJudge struct {
	machine
	takes time.Duration
}

func (j slowJudge) Validate(ctx context.Context, document, userData, nonce []byte) error {
	select {
	case <-time.After(j.takes):
		return j.machine.Validate(ctx, document[:len(userData)+len(nonce)], userData, nonce)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// padded makes documents that are larger than they need be.
type padded struct {
	machine
	by int
}

func (p padded) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	document, err := p.machine.Issue(ctx, userData, nonce)
	return append(document, make([]byte, p.by)...), err
}

// A peer's time stands still while it is judged, however it sends its certificate.
func TestTimeStandsStillWhileAPeerIsJudged(t *testing.T) {
	for name, size := range map[string]int{"small": 0, "large": 40 << 10} {
		t.Run(name, func(t *testing.T) {
			const judging = atls.Patience - time.Second
			took, err := shake(t, Handshakes{Self: atls.Unattested, Peers: atls.Require(slowJudge{takes: judging})}, func(ctx context.Context, c net.Conn) {
				_, _, err := atls.ClientCredentials(padded{by: size}, atls.AcceptAnyPeer).ClientHandshake(ctx, "", c)
				assert.NoError(t, err)
			})
			require.NoError(t, err)
			assert.Equal(t, judging, took)
		})
	}
}

// Who is judged waits for us: its connection is not closed for another one, and the
// judgement ends with it.
func TestAPeerIsJudgedAsLongAsItStays(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(ours *Conn, theirs net.Conn)
		want error
	}{
		"we close it":       {func(ours *Conn, _ net.Conn) { _ = ours.Close() }, ErrHungUp},
		"the peer hangs up": {func(_ *Conn, theirs net.Conn) { _ = theirs.Close() }, ErrHungUp},
		"hangs up after the end of its handshake": {func(_ *Conn, theirs net.Conn) {
			_, _ = theirs.Write(make([]byte, maxAhead-1))
			_ = theirs.Close()
		}, ErrHungUp},
		"the peer floods it": {func(_ *Conn, theirs net.Conn) { _, _ = theirs.Write(make([]byte, maxAhead)) }, errTooEarly},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, theirs := piped(t)
				ended := make(chan error, 1)
				go func() {
					ended <- conn.judge(conn.gone, func(ctx context.Context) error { <-ctx.Done(); return errors.New("given up") })
				}()
				synctest.Wait()
				require.Positive(t, conn.holds)
				tc.end(conn, theirs)
				require.ErrorIs(t, <-ended, tc.want)
				assert.Zero(t, conn.holds)
				assert.True(t, conn.over, "what it may have of the handshake is over")
			})
		})
	}
}

// A refusal is one. What the peer has said meanwhile is not lost, and its own time
// starts again.
func TestJudgementCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, theirs := piped(t)
		refusal := errors.New("refused")
		require.ErrorIs(t, conn.judge(conn.gone, func(context.Context) error {
			_, err := theirs.Write([]byte("Finished"))
			require.NoError(t, err)
			return refusal
		}), refusal)
		got := make([]byte, 32)
		n, err := conn.Read(got)
		require.NoError(t, err)
		assert.Equal(t, "Finished", string(got[:n]))

		require.NoError(t, conn.judge(conn.gone, func(context.Context) error { return nil }))
		judged := time.Now()
		_, err = conn.Read(got)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, certificateTime, time.Since(judged))
	})
}
