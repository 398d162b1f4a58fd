package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"disk-mapper/attestation/atls"
	"disk-mapper/proto/recoverproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// hurried is the pace of tests in which time is not the matter.
var hurried = pace{pause: time.Millisecond, dial: 10 * time.Second, attempt: 10 * time.Second, patience: time.Millisecond}

// terminal is what a command left on the screen.
type terminal struct{ out, notes bytes.Buffer }

// recoverNodes runs the command in a workspace with the secret of vector A.
func recoverNodes(t *testing.T, speed pace, args ...string) (*terminal, error) {
	t.Helper()
	files := workspaceWith(t, map[string]string{defaultMasterSecret: vectors["A"].file(t)})
	return recoverIn(t, files, speed, args...)
}

func recoverIn(t *testing.T, files workspace, speed pace, args ...string) (*terminal, error) {
	t.Helper()
	var screen terminal
	err := execute(t.Context(), append([]string{"recover", "-C", files.dir}, args...), &screen.out, &screen.notes, speed)
	shown := screen.out.String() + screen.notes.String()
	if err != nil {
		require.ErrorContains(t, err, "recovering cluster: ")
		shown += err.Error()
	}
	if raw, failed := os.ReadFile(filepath.Join(files.dir, defaultMasterSecret)); failed == nil {
		requireNoSecret(t, raw, shown)
	}
	return &screen, err
}

func TestRecover(t *testing.T) {
	for name, v := range vectors {
		t.Run("vector "+name, func(t *testing.T) {
			files := workspaceWith(t, map[string]string{defaultMasterSecret: v.file(t)})
			got := make(chan receipt, 1)
			address := startNode(t, claimant("node"), takeKey(v.disk, got, nil))

			screen, err := recoverIn(t, files, hurried, "-e", address, "--insecure-skip-attestation")
			require.NoError(t, err)
			assert.Equal(t, "Pushed recovery key.\nRecovered 1 control-plane nodes.\n", screen.out.String())
			assert.Equal(t, receipt{unhex(t, v.measurement), unhex(t, v.diskKey)}, <-got)
		})
	}
}

// TestOnlyDerivedKeysLeave records each byte that leaves the machine: the
// master secret is not among them, in no encoding.
func TestOnlyDerivedKeysLeave(t *testing.T) {
	v := vectors["A"]
	sent := make(chan []*recoverproto.RecoverMessage, 1)
	address := startNode(t, claimant("node"), func(s stream) error {
		var messages []*recoverproto.RecoverMessage
		for len(messages) < 2 {
			message, err := s.Recv()
			if err != nil {
				return err
			}
			messages = append(messages, message)
			if len(messages) == 1 {
				_ = s.Send(&recoverproto.RecoverResponse{DiskUuid: v.disk})
			}
		}
		sent <- messages
		return nil
	})
	_, err := recoverNodes(t, hurried, "-e", address, "--insecure-skip-attestation")
	require.NoError(t, err)
	messages := <-sent
	for _, message := range messages {
		assert.Empty(t, message.GetKmsUri())
		assert.Empty(t, message.GetStorageUri())
		assert.Empty(t, message.ProtoReflect().GetUnknown())
	}
	assert.IsType(t, &recoverproto.RecoverMessage_MeasurementSecret{}, messages[0].GetRequest())
	assert.IsType(t, &recoverproto.RecoverMessage_StateDiskKey{}, messages[1].GetRequest())
}

func TestRecoverTwoNodes(t *testing.T) {
	a, c := vectors["A"].disk, vectors["C"].disk
	got := make(chan receipt, 2)
	address := startNode(t, claimant("node"), takeKey(a, got, nil), takeKey(c, got, nil))

	screen, err := recoverNodes(t, hurried, "-e", address, "--insecure-skip-attestation")
	require.NoError(t, err)
	assert.Equal(t, "Pushed recovery key.\nPushed recovery key.\nRecovered 2 control-plane nodes.\n", screen.out.String())
	first, second := <-got, <-got
	assert.NotEqual(t, first.key, second.key)
	assert.Equal(t, first.measurement, second.measurement)
}

func TestNobodyToRecover(t *testing.T) {
	screen, err := recoverNodes(t, hurried, "-e", unusedAddress(t), "--insecure-skip-attestation")
	require.NoError(t, err)
	assert.Equal(t, "No control-plane nodes in need of recovery found. Exiting.\n", screen.out.String())
	assert.Contains(t, screen.notes.String(), "connection refused")
}

func unusedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// TestNodeComesUpLate: the first attempt finds the port closed, the second one
// the node.
func TestNodeComesUpLate(t *testing.T) {
	address := unusedAddress(t)
	got := make(chan receipt, 1)
	c := testCaller(t, address, atls.AcceptAnyPeer)
	attempts := 0
	push := func(ctx context.Context) error {
		if attempts++; attempts == 2 {
			listener, err := net.Listen("tcp", address)
			require.NoError(t, err)
			serveNode(t, listener, claimant("node"), takeKey(vectors["A"].disk, got, nil))
		}
		return c.push(ctx)
	}
	var screen terminal
	require.NoError(t, recovery{push: push, pace: hurried, out: &screen.out, notes: &screen.notes}.run(t.Context()))
	assert.Equal(t, "Pushed recovery key.\nRecovered 1 control-plane nodes.\n", screen.out.String())
	assert.Equal(t, 4, attempts)
}

func TestNodeRefuses(t *testing.T) {
	disk := vectors["A"].disk
	end := func(err error) func(stream) error { return func(stream) error { return err } }
	for name, tt := range map[string]struct {
		node func(stream) error
		want string
	}{
		"wrong key": {
			takeKey(disk, make(chan receipt, 1), status.Error(codes.PermissionDenied, "the key does not open the state disk "+disk)),
			"wrong key: the master secret in DIR/constellation-mastersecret.json does not open state disk " + disk + " of the node at ADDRESS.\n" +
				"Check that this file is the master secret of the cluster that the node belongs to. Nothing has changed on the node; it keeps waiting for its key.\n" +
				`The node said: "the key does not open the state disk ` + disk + `"`,
		},
		"refuses the first message": {end(status.Error(codes.InvalidArgument, "no")), `the node at ADDRESS did not understand the call: "no"`},
		"escape sequences":          {end(status.Error(codes.InvalidArgument, "\x1b[2J\nPushed recovery key.")), `the node at ADDRESS did not understand the call: "\x1b[2J\nPushed recovery key."`},
		"broken disk":               {takeKey(disk, make(chan receipt, 1), status.Error(codes.Internal, "reading /dev/vdb: input/output error")), `the node at ADDRESS failed (Internal): "reading /dev/vdb: input/output error": its serial console may say more`},
		"no recovery server":        {end(status.Error(codes.Unimplemented, "unknown method")), `ADDRESS is not the recovery port of a node: "unknown method"`},
		"ends at once":              {end(nil), "node at ADDRESS: the node ended the call before it got its key"},
		"names no disk":             {takeKey("", make(chan receipt, 1), nil), `node at ADDRESS: the node sent a message that is not part of the protocol: disk UUID "": not a canonical lower-case UUID`},
		"names another key":         {takeKey("measurementSecret", make(chan receipt, 1), nil), `node at ADDRESS: the node sent a message that is not part of the protocol: disk UUID "measurementSecret": not a canonical lower-case UUID`},
		"upper case":                {takeKey(strings.ToUpper(disk), make(chan receipt, 1), nil), `node at ADDRESS: the node sent a message that is not part of the protocol: disk UUID "12345678-90AB-CDEF-1234-567890ABCDEF": not a canonical lower-case UUID`},
		"answers the key":           {answersTheKey(disk), "node at ADDRESS: the node sent a message that is not part of the protocol"},
		"sends a large message":     {takeKey(strings.Repeat("a", 5000), make(chan receipt, 1), nil), "the node at ADDRESS failed (ResourceExhausted): "},
	} {
		t.Run(name, func(t *testing.T) {
			address := startNode(t, claimant("node"), tt.node)
			files := workspaceWith(t, map[string]string{defaultMasterSecret: vectors["A"].file(t)})
			screen, err := recoverIn(t, files, hurried, "-e", address, "--insecure-skip-attestation")
			require.Error(t, err)
			shown := strings.NewReplacer(files.dir, "DIR", address, "ADDRESS").Replace(err.Error())
			assert.Truef(t, strings.HasPrefix(shown, "recovering cluster: "+tt.want), "got: %s", shown)
			assert.Empty(t, screen.out.String())
		})
	}
}

func answersTheKey(disk string) func(stream) error {
	return func(s stream) error {
		if err := takeKey(disk, make(chan receipt, 1), nil)(s); err != nil {
			return err
		}
		return s.Send(&recoverproto.RecoverResponse{DiskUuid: disk})
	}
}

// TestSomebodyElseWasFaster: the node got its key from another source while
// ours was on its way. That is no failure.
func TestSomebodyElseWasFaster(t *testing.T) {
	for name, refusal := range map[string]error{
		"before our key": status.Error(codes.FailedPrecondition, "the state disk has already got its key"),
		"during our key": status.Error(codes.Canceled, "context canceled"),
	} {
		t.Run(name, func(t *testing.T) {
			address := startNode(t, claimant("node"), takeKey(vectors["A"].disk, make(chan receipt, 1), refusal))
			screen, err := recoverNodes(t, hurried, "-e", address, "--insecure-skip-attestation")
			require.NoError(t, err)
			assert.Equal(t, "No control-plane nodes in need of recovery found. Exiting.\n", screen.out.String())
		})
	}
}

// TestWrongKeyAfterSuccess: what was done is told, and the status is still 1.
func TestWrongKeyAfterSuccess(t *testing.T) {
	disk := vectors["A"].disk
	refusal := status.Error(codes.PermissionDenied, "wrong")
	got := make(chan receipt, 2)
	address := startNode(t, claimant("node"), takeKey(disk, got, nil), takeKey(disk, got, refusal))
	screen, err := recoverNodes(t, hurried, "-e", address, "--insecure-skip-attestation")
	require.ErrorContains(t, err, "wrong key")
	assert.Equal(t, "Pushed recovery key.\nRecovered 1 control-plane nodes.\n", screen.out.String())
}

func TestSilentNode(t *testing.T) {
	over := make(chan struct{})
	address := startNode(t, claimant("node"), func(stream) error { <-over; return nil })
	t.Cleanup(func() { close(over) })
	speed := hurried
	speed.attempt = 300 * time.Millisecond
	_, err := recoverNodes(t, speed, "-e", address, "--insecure-skip-attestation")
	require.ErrorContains(t, err, "took the call but did not answer within 300ms")
}

func TestCtrlCEndsACall(t *testing.T) {
	ctx, ctrlC := context.WithCancel(t.Context())
	address := startNode(t, claimant("node"), func(s stream) error { ctrlC(); <-s.Context().Done(); return nil })
	files := workspaceWith(t, map[string]string{defaultMasterSecret: vectors["A"].file(t)})
	var screen terminal
	err := execute(ctx, []string{"recover", "-C", files.dir, "-e", address, "--insecure-skip-attestation"}, &screen.out, &screen.notes, operatorPace)
	require.ErrorIs(t, err, errInterrupted)
	assert.EqualError(t, err, "recovering cluster: interrupted")
}
