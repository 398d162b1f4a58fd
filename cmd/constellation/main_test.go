package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary behave as the program itself.
const asProgram = "TEST_AS_CONSTELLATION"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) (process *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	process = exec.CommandContext(t.Context(), os.Args[0], args...)
	process.Env = append(os.Environ(), asProgram+"=1")
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	process.Stdout, process.Stderr = stdout, stderr
	return process, stdout, stderr
}

func exitStatus(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.Truef(t, ok, "%v", err)
	return exit.ExitCode()
}

func TestExitStatus(t *testing.T) {
	dir := workspaceWith(t, map[string]string{"secret.json": vectors["A"].file(t)}).dir
	node := startNode(t, claimant("node"), takeKey("measurementSecret", make(chan receipt, 1), nil))
	for name, tt := range map[string]struct {
		args   []string
		want   int
		stderr string
	}{
		"help":            {[]string{"recover", "--help"}, 0, ""},
		"created":         {[]string{"mastersecret", "create", "-C", t.TempDir()}, 0, ""},
		"exists":          {[]string{"mastersecret", "create", "-C", dir, "--master-secret", "secret.json"}, 1, "Error: creating master secret: "},
		"no measurements": {[]string{"recover", "-C", dir, "--master-secret", "secret.json", "-e", node}, 1, "Error: recovering cluster: "},
		"node misbehaves": {[]string{"recover", "-C", dir, "--master-secret", "secret.json", "-e", node, "--insecure-skip-attestation"}, 1, "Error: recovering cluster: "},
		"unknown command": {[]string{"recovr"}, 1, "Error: unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			process, stdout, stderr := program(t, tt.args...)
			assert.Equal(t, tt.want, exitStatus(t, process.Run()), "%s%s", stdout, stderr)
			assert.Contains(t, stderr.String(), tt.stderr)
		})
	}
}

// TestCtrlC interrupts the program while a load balancer keeps it waiting.
func TestCtrlC(t *testing.T) {
	for name, signal := range map[string]os.Signal{"Ctrl-C": os.Interrupt, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			connected := make(chan struct{}, 1)
			address := listenRaw(t, func(c *net.TCPConn) {
				connected <- struct{}{}
				_, _ = io.Copy(io.Discard, c) // until the program has ended
			})
			dir := workspaceWith(t, map[string]string{defaultMasterSecret: vectors["A"].file(t)}).dir
			process, stdout, stderr := program(t, "recover", "-C", dir, "-e", address, "--insecure-skip-attestation")
			require.NoError(t, process.Start())
			<-connected
			require.NoError(t, process.Process.Signal(signal))
			assert.Equal(t, 1, exitStatus(t, process.Wait()))
			assert.Contains(t, stderr.String(), "Error: recovering cluster: interrupted\n")
			assert.Empty(t, stdout.String())
		})
	}
}
