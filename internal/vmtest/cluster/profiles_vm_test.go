//go:build vm

package cluster

import (
	"fmt"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/faults"
	"disk-mapper/internal/vmtest"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// TestQuoteOfAnotherProfile: a stranger who can reach a waiting node of profile 2.1 and
// the JoinService of a cluster of profile 2.24, of the same image, has the node quote
// for a key of its own. A node of profile 2.24 is then served by the same JoinService.
func TestQuoteOfAnotherProfile(t *testing.T) {
	victim := newNode(t, attestation.Profile21)
	victim.oldDisk(t)
	vm := victim.boot(t) // knows no JoinService
	waitFor(t, vm, "Starting RecoveryServer")

	n := newNode(t, attestation.Profile224)
	require.NoError(t, n.expect(pcr4(t, vm))) // of the same image, as any host can boot it
	n.oldDisk(t)
	refused := make(chan struct{})
	n.joinLog = &watcher{out: t.Output(), text: "measurement 15 differs", seen: refused}
	require.NoError(t, n.StartJoinService(t.Context()))
	conn, err := grpc.NewClient("passthrough:///"+joinAddress,
		grpc.WithTransportCredentials(faults.Repacked(fmt.Sprintf("127.0.0.1:%d", recoveryPort))))
	require.NoError(t, err)
	defer conn.Close()
	ticket, err := joinproto.NewAPIClient(conn).IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectorUUID})
	require.Error(t, err)
	assert.Empty(t, ticket.GetStateDiskKey())
	select {
	case <-refused:
	case <-time.After(patience):
		t.Fatalf("refused for another reason: %v", err)
	}
	vm.Kill()

	require.NoError(t, n.StartMetadata(t.Context()))
	vm = n.boot(t)
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "Successfully retrieved rejoin ticket")
}

func pcr4(t *testing.T, vm *vmtest.VM) string {
	t.Helper()
	found := bootedLine.FindStringSubmatch(console(vm))
	require.NotNil(t, found)
	return found[1]
}
