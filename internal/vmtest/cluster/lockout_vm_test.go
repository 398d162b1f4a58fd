//go:build vm

package cluster

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestKilledAfterQuotes cuts the power of a node five times after it has used its
// attestation key, as a power failure does that outlasts the operator's first tries.
// The sixth boot is recovered: the TPM is not locked.
func TestKilledAfterQuotes(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	n.oldDisk(t)
	require.NoError(t, n.StartMetadata(t.Context()))
	for range 5 {
		vm := n.boot(t)
		waitFor(t, vm, "Starting RecoveryServer")
		require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, quoteOnce()) }, patience, time.Second)
		require.NoError(t, vm.Close())
	}
	vm := n.boot(t)
	waitFor(t, vm, "Starting RecoveryServer")
	outcome := n.operator(t, n.RecoverArgs()...)
	assert.Zero(t, outcome.Exit)
	waitEnd(t, vm, vmtest.PowerOff)
	assert.NotContains(t, console(vm), "TPM in DA lockout")
	assert.NotContains(t, console(vm), "Failed to issue attestation document")
	assert.Contains(t, console(vm), "node: PCR 15 "+vectorPCR)
}

// quoteOnce is a handshake with the node, of somebody who wants no more.
func quoteOnce() error {
	nonce := base64.StdEncoding.EncodeToString(make([]byte, attestation.NonceSize))
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", recoveryPort), &tls.Config{
		InsecureSkipVerify: true, ServerName: nonce, NextProtos: []string{"h2"},
	})
	if err != nil {
		return err
	}
	return conn.Close()
}
