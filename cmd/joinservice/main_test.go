package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary behave as the program itself.
const asProgram = "TEST_AS_JOINSERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) (*exec.Cmd, *terminal) {
	t.Helper()
	screen := newTerminal()
	process := exec.CommandContext(t.Context(), os.Args[0], args...)
	process.Env = append(os.Environ(), asProgram+"=1")
	process.Stdout, process.Stderr = screen, screen
	return process, screen
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
	for name, tt := range map[string]struct {
		args  []string
		want  int
		shown string
	}{
		"help":        {[]string{"--help"}, 0, "Usage:"},
		"wrong usage": {[]string{"--accept-any"}, 2, "flag provided but not defined"},
		"no policy":   {changed(files(t), "--policy", "nowhere"), 1, `"level":"ERROR"`},
	} {
		t.Run(name, func(t *testing.T) {
			process, screen := program(t, tt.args...)
			assert.Equal(t, tt.want, exitStatus(t, process.Run()), screen)
			assert.Contains(t, screen.String(), tt.shown)
		})
	}
}

func TestSignals(t *testing.T) {
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": os.Interrupt} {
		t.Run(name, func(t *testing.T) {
			process, screen := program(t, good(files(t))...)
			require.NoError(t, process.Start())
			ended := make(chan error, 1)
			go func() { ended <- process.Wait() }()
			screen.served(t, ended)
			require.NoError(t, process.Process.Signal(signal))
			assert.Equal(t, 0, exitStatus(t, <-ended), screen)
			assert.Contains(t, screen.String(), `"msg":"JoinService stopped"`)
		})
	}
}
