//go:build vm

package cluster

import (
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	vectorClusterID = "e7fd5a0e36fb56d69807aa36e68aee24438c1bf8766780b6106150f35b7aacba"
	otherClusterID  = "823267d1276b940d1f04b9fac150721f196bf1090e125684d4efd8416a691588"
)

// TestEvilTwin: the host gives a node a disk of another cluster, and a JoinService with
// the key that opens it. Without constel.cluster-id= the node would be that cluster's.
func TestEvilTwin(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	n.oldDisk(t)
	require.NoError(t, n.StartMetadata(t.Context()))
	require.NoError(t, n.StartJoinService(t.Context()))
	before := fileHash(t, n.disk)

	vm := n.boot(t, "constel.cluster-id="+otherClusterID)
	line := waitFor(t, vm, "Failed to prepare the state disk")
	assert.Contains(t, line.Text, "those of cluster "+vectorClusterID+", and constel.cluster-id= on the kernel command line wants "+otherClusterID)
	waitEnd(t, vm, vmtest.Reset)
	assert.Contains(t, console(vm), "Successfully retrieved rejoin ticket", "the key was the right one")
	assert.NotContains(t, console(vm), "State disk is ready")
	assert.NotContains(t, console(vm), "node: PCR", "the node was started")
	assert.Equal(t, before, fileHash(t, n.disk))

	vm = n.boot(t, "constel.cluster_id="+strings.ToUpper(vectorClusterID))
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "node: PCR 15 "+vectorPCR)
}

// TestEvilTwinEnrolls: the same on a first boot. The disk does not become that cluster's,
// and the node goes on asking: another JoinService may be its own cluster's.
func TestEvilTwinEnrolls(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	n.blank(t)
	require.NoError(t, n.StartMetadata(t.Context()))
	require.NoError(t, n.StartJoinService(t.Context()))
	vm := n.boot(t, "constel.cluster-id="+otherClusterID)
	line := waitFor(t, vm, "Failed to join on endpoint")
	assert.Contains(t, line.Text, "and constel.cluster-id= on the kernel command line wants "+otherClusterID)
	waitFor(t, vm, "Failed to join on all endpoints")
	vm.Kill()
	waitEnd(t, vm, vmtest.Killed)
	assert.NotContains(t, console(vm), "Joined the cluster")
	assert.NotContains(t, console(vm), "node: PCR 15 "+vectorPCR)
}
