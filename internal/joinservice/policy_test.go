package joinservice_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"
	"disk-mapper/internal/joinservice"
	"disk-mapper/internal/logging"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

const (
	onePCR   = `{"measurements": {"4": {"expected": "0404040404040404040404040404040404040404040404040404040404040404", "warnOnly": false}}}`
	otherPCR = `{"measurements": {"4": {"expected": "0505050505050505050505050505050505050505050505050505050505050505", "warnOnly": false}}}`
)

// inTurn returns a judge that believes the first machine under the first
// policy that it gets, the second under the second, and so on.
func inTurn(machines ...believer) joinservice.Judge {
	return func(policy verify.Policy) (attestation.Validator, error) {
		if slices.Contains(policy.Unenforced(), 4) {
			return nil, errWeak
		}
		machine := machines[0]
		machines = machines[1:]
		return machine, nil
	}
}

var errWeak = errors.New("weaker than it may be")

type policyFile struct {
	*joinservice.PolicyFile
	path    string
	console *console
}

func openPolicy(t *testing.T, judge joinservice.Judge) policyFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, os.WriteFile(path, []byte(onePCR), 0o600))
	screen := newConsole()
	file, err := joinservice.OpenPolicyFile(path, judge, logging.New(screen, 0))
	require.NoError(t, err)
	return policyFile{file, path, screen}
}

func (p policyFile) write(t *testing.T, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(p.path, []byte(content), 0o600))
}

func (p policyFile) requireBelieves(t *testing.T, machine claimant) {
	t.Helper()
	userData, nonce := make([]byte, 32), make([]byte, attestation.NonceSize)
	for _, candidate := range []claimant{"first", "second", "third"} {
		document, err := candidate.Issue(t.Context(), userData, nonce)
		require.NoError(t, err)
		err = p.Validate(t.Context(), document, userData, nonce)
		if candidate == machine {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, errOtherMachine)
		}
	}
}

func TestPolicyReload(t *testing.T) {
	file := openPolicy(t, inTurn("first", "second", "third"))
	file.requireBelieves(t, "first")
	assert.Empty(t, file.console.String(), "nothing has changed")

	file.write(t, otherPCR) // of the same length, within the same second
	file.requireBelieves(t, "second")
	assert.Equal(t, 1, strings.Count(file.console.String(), `"msg":"Reloaded attestation policy"`))
	assert.Contains(t, file.console.String(), `"weaknesses":["any attestation key is accepted: `)

	file.write(t, onePCR)
	file.requireBelieves(t, "third")
}

func TestBrokenPolicyKeepsTheLast(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"not JSON":       func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"empty file":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"no measurement": func(path string) error { return os.WriteFile(path, []byte(`{"measurements": {}}`), 0o600) },
		"unknown member": func(path string) error { return os.WriteFile(path, []byte(`{"acceptAny": true}`), 0o600) },
		"refused": func(path string) error {
			return os.WriteFile(path, []byte(strings.Replace(onePCR, `"4"`, `"5"`, 1)), 0o600)
		},
		"removed":   os.Remove,
		"too large": func(path string) error { return os.WriteFile(path, make([]byte, 1<<20+1), 0o600) },
		"directory": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := openPolicy(t, inTurn("first", "second"))
			require.NoError(t, spoil(file.path))
			file.requireBelieves(t, "first")
			file.requireBelieves(t, "first")
			line := file.console.next(t, `"msg":"Failed to reload attestation policy, the last good one stays in force"`)
			assert.Contains(t, line, `"level":"ERROR"`)
			assert.Contains(t, line, `"file":"`+file.path+`"`)
			assert.Equal(t, 1, strings.Count(file.console.String(), "\n"), "logged once, not for each node")

			require.NoError(t, os.RemoveAll(file.path))
			file.write(t, otherPCR)
			file.requireBelieves(t, "second")
		})
	}
}

// TestPolicyBehindLink is how Kubernetes mounts files: a change swaps a link.
func TestPolicyBehindLink(t *testing.T) {
	file := openPolicy(t, inTurn("first", "second"))
	file.requireBelieves(t, "first")
	dir := filepath.Dir(file.path)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "next"), []byte(otherPCR), 0o600))
	require.NoError(t, os.Symlink("next", filepath.Join(dir, "link")))
	require.NoError(t, os.Rename(filepath.Join(dir, "link"), file.path))
	file.requireBelieves(t, "second")
}

func TestPolicyNeededAtStart(t *testing.T) {
	for name, content := range map[string]string{
		"empty":          "",
		"not JSON":       "measurements: {}",
		"no measurement": `{"measurements": {}}`,
		"trailing data":  onePCR + "{}",
		"refused":        strings.Replace(onePCR, `"4"`, `"5"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "policy.json")
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			_, err := joinservice.OpenPolicyFile(path, inTurn(), zap.NewNop())
			require.ErrorContains(t, err, "attestation policy "+path+": ")
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, err := joinservice.OpenPolicyFile(filepath.Join(t.TempDir(), "nowhere"), inTurn(), zap.NewNop())
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

// TestWatch: what becomes of the file is said also while no node comes.
func TestWatch(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, path string)
		want   string
	}{
		"broken": {func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("{"), 0o600)) }, "Failed to reload attestation policy"},
		"gone":   {func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, "Failed to reload attestation policy"},
		"link swapped, as Kubernetes does": {func(t *testing.T, path string) {
			dir := filepath.Dir(path)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "next"), []byte(otherPCR), 0o600))
			require.NoError(t, os.Symlink("next", filepath.Join(dir, "link")))
			require.NoError(t, os.Rename(filepath.Join(dir, "link"), path))
		}, "Reloaded attestation policy"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file := openPolicy(t, inTurn("first", "second"))
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); file.Watch(ctx) }()
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Empty(t, file.console.String(), "nothing has changed")
				tt.change(t, file.path)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				assert.Contains(t, file.console.String(), tt.want)
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, 1, strings.Count(file.console.String(), "\n"), "said once")
				stop()
				<-ended
			})
		})
	}
}

// TestReloadOnTheWire changes the policy between two handshakes.
func TestReloadOnTheWire(t *testing.T) {
	file := openPolicy(t, inTurn("first", "second"))
	server := start(t, vectors["A"].master(t), file)
	rejoin := func(node claimant) error {
		_, err := dial(t, server.address, node).IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk})
		return err
	}
	require.NoError(t, rejoin("first"))
	require.Error(t, rejoin("second"))
	file.write(t, otherPCR)
	require.NoError(t, rejoin("second"))
	require.Error(t, rejoin("first"))
}
