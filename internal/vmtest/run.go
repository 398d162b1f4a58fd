package vmtest

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Result is what a script left.
type Result struct {
	ExitCode int
	// Output is its standard output and error, line by line, with "\n" as line end.
	Output string
}

var (
	//go:embed guest/vmtest.target
	targetUnit []byte
	//go:embed guest/vmtest.service
	serviceUnit []byte
	//go:embed guest/run
	runner []byte
)

// Run boots a VM that does nothing but run script as root and power off, and returns what came of it. The script is a
// shell script, or any file with "#!"; it is run in /vmtest, where the overlay may put more, once all disks are there.
// The daemon is not started. A script that fails is a Result, not an error.
func Run(ctx context.Context, config Config, script string) (Result, error) {
	token := rand.Text()
	vm, err := Boot(ctx, withScript(config, script, token))
	if err != nil {
		return Result{}, err
	}
	result, err := vm.result(ctx, token)
	return result, errors.Join(err, vm.Close())
}

func withScript(config Config, script, token string) Config {
	if !strings.HasPrefix(script, "#!") {
		script = "#!/bin/sh\n" + script
	}
	config.Cmdline = append([]string{"rd.systemd.unit=vmtest.target"}, config.Cmdline...)
	config.Overlay = slices.Concat(config.Overlay, []File{
		{Path: "/usr/lib/systemd/system/vmtest.target", Content: targetUnit},
		{Path: "/usr/lib/systemd/system/vmtest.service", Content: serviceUnit},
		{Path: "/vmtest/run", Content: runner, Mode: 0o755},
		{Path: "/vmtest/script", Content: []byte(script), Mode: 0o755},
		{Path: "/vmtest/token", Content: []byte(token)},
	})
	return config
}

func (vm *VM) result(ctx context.Context, token string) (Result, error) {
	begin, err := vm.WaitFor(ctx, "vmtest "+token+" begin")
	if err != nil {
		return Result{}, err
	}
	marker := "vmtest " + token + " end "
	end, err := vm.WaitLineAfter(ctx, begin, func(line string) bool { return strings.Contains(line, marker) })
	if err != nil {
		return Result{}, fmt.Errorf("waiting for the end of the script: %w", err)
	}
	if _, err := vm.Wait(ctx); err != nil {
		return Result{}, err
	}
	return parseResult(vm.Lines()[begin.Index+1:end.Index+1], marker)
}

// parseResult takes the lines of a script, the end marker last. Output without a final line end shares the marker's line.
func parseResult(lines []Line, marker string) (Result, error) {
	last := lines[len(lines)-1].Text
	rest, code, _ := strings.Cut(last, marker)
	exit, err := strconv.Atoi(code)
	if err != nil {
		return Result{}, fmt.Errorf("reading the script's exit code: %w", err)
	}
	var output strings.Builder
	for _, line := range lines[:len(lines)-1] {
		output.WriteString(line.Text + "\n")
	}
	output.WriteString(rest)
	return Result{ExitCode: exit, Output: output.String()}, nil
}
