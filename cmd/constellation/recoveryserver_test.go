package main

import (
	"bytes"
	"context"
	"net"
	"testing"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/sshproof"
	"disk-mapper/recoveryserver"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// waitForKey runs the nodes' own recovery server for a disk that opens with one
// key only, as a booting node does, until it has that key.
func waitForKey(t *testing.T, address string, v vector, operators sshproof.Keys) (done <-chan keys.Pair) {
	t.Helper()
	disk, err := keys.ParseDiskID(v.disk)
	require.NoError(t, err)
	ctx, decided := context.WithCancel(t.Context())
	won := make(chan keys.Pair, 1)
	prove := func(_ context.Context, candidate keys.Pair) error {
		if !bytes.Equal(candidate.Disk.Bytes(), unhex(t, v.diskKey)) {
			return keys.ErrWrongKey
		}
		won <- candidate.Clone()
		decided()
		return nil
	}
	ended := make(chan error, 1)
	go func() {
		ended <- recoveryserver.New(address, claimant("node"), operators, zap.NewNop()).Offer(ctx, disk, prove)
	}()
	t.Cleanup(func() { decided(); <-ended })
	return won
}

// TestWrongKeyThenRightKey recovers the real recovery server: the wrong master
// secret is refused in plain words and the node keeps waiting, the right one
// ends the wait.
func TestWrongKeyThenRightKey(t *testing.T) {
	address := unusedAddress(t)
	v := vectors["A"]
	won := waitForKey(t, address, v, sshproof.Keys{})
	awaitListener(t, address)

	wrong := workspaceWith(t, map[string]string{defaultMasterSecret: vectors["B"].file(t)})
	screen, err := recoverIn(t, wrong, hurried, "-e", address, "--insecure-skip-attestation")
	require.ErrorContains(t, err, "recovering cluster: wrong key: the master secret in "+wrong.path(defaultMasterSecret)+
		" does not open state disk "+v.disk+" of the node at "+address)
	assert.Empty(t, screen.out.String())
	require.Empty(t, won)

	screen, err = recoverNodes(t, hurried, "-e", address, "--insecure-skip-attestation")
	require.NoError(t, err)
	assert.Equal(t, "Pushed recovery key.\nRecovered 1 control-plane nodes.\n", screen.out.String())
	assert.Contains(t, screen.notes.String(), "after wrong keys from this address: try again in 1s", "why the right one was not taken at once")
	pair := <-won
	assert.Equal(t, unhex(t, v.measurement), pair.Measurement.Bytes())
}

// awaitListener returns once something listens.
func awaitListener(t *testing.T, address string) {
	t.Helper()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			require.NoError(t, conn.Close())
			return
		}
		require.NoError(t, t.Context().Err())
	}
}
