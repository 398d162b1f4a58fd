package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// End is how a VM came to its end.
type End int

const (
	// Killed is the zero value: Kill, Close, the context or QEMU itself ended the VM, not the guest.
	Killed End = iota
	// PowerOff is a shutdown by the guest.
	PowerOff
	// Reset is a reboot by the guest, a panic included. It ends the VM, which never boots twice.
	Reset
)

func (e End) String() string {
	return [...]string{Killed: "killed", PowerOff: "power off", Reset: "reset"}[e]
}

// VM is one boot, from power-on to its end.
type VM struct {
	console *console
	qemu    *exec.Cmd
	swtpm   *exec.Cmd
	scratch string

	ended chan struct{} // closed once end and err are final
	end   End
	err   error
	close func() error
}

// Boot powers a VM on and returns at once. The VM ends when the guest ends it, by Kill, by Close, or with ctx.
// The caller owes a Close.
func Boot(ctx context.Context, config Config) (*VM, error) {
	scratch, err := os.MkdirTemp("", "vmtest-")
	if err != nil {
		return nil, fmt.Errorf("making a scratch directory: %w", err)
	}
	vm, err := boot(ctx, config, scratch)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(scratch))
	}
	return vm, nil
}

func boot(ctx context.Context, config Config, scratch string) (*VM, error) {
	files, err := prepare(ctx, config, scratch)
	if err != nil {
		return nil, err
	}
	vm := &VM{scratch: scratch, ended: make(chan struct{})}
	vm.close = sync.OnceValue(vm.release)
	return vm, vm.powerOn(ctx, config, files)
}

// prepare makes the files of one boot: the initrd with its overlay, the firmware's variables, a new TPM's state.
func prepare(ctx context.Context, config Config, scratch string) (bootFiles, error) {
	files := bootFiles{initrd: filepath.Join(scratch, "initrd"), variables: filepath.Join(scratch, "variables")}
	if err := writeInitrd(files.initrd, config.Image.Initrd, config.Overlay); err != nil {
		return bootFiles{}, err
	}
	if config.Firmware == UEFI {
		if err := copyFile(files.variables, firmwareVariables); err != nil {
			return bootFiles{}, fmt.Errorf("copying the firmware's variables: %w", err)
		}
	}
	return files, config.TPM.provision(ctx)
}

func (vm *VM) powerOn(ctx context.Context, config Config, files bootFiles) error {
	monitor, monitorEnd, err := socketPair("monitor")
	if err != nil {
		return err
	}
	defer monitorEnd.Close()
	sockets := []*os.File{monitorEnd}
	if config.TPM.StateDir != "" {
		tpm, err := vm.startTPM(ctx, config.TPM)
		if err != nil {
			return errors.Join(err, monitor.Close())
		}
		defer tpm.Close()
		sockets = append(sockets, tpm)
	}
	if err := vm.startQEMU(ctx, config, files, sockets, monitor); err != nil {
		return errors.Join(err, monitor.Close(), end(vm.swtpm))
	}
	return nil
}

func (vm *VM) startTPM(ctx context.Context, tpm TPM) (*os.File, error) {
	ours, theirs, err := socketPair("tpm")
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	command, err := tpm.command(ctx, theirs)
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting swtpm: %w", err), ours.Close())
	}
	vm.swtpm = command
	return ours, nil
}

func (vm *VM) startQEMU(ctx context.Context, config Config, files bootFiles, sockets []*os.File, monitor io.ReadWriteCloser) error {
	var stderr bytes.Buffer
	vm.qemu = exec.CommandContext(ctx, qemuBinary, arguments(config, files)...)
	vm.qemu.ExtraFiles = sockets
	vm.qemu.SysProcAttr = endWithParent()
	vm.qemu.Stderr = &stderr
	serial, err := vm.qemu.StdoutPipe()
	if err != nil {
		return fmt.Errorf("opening the console: %w", err)
	}
	if err := vm.qemu.Start(); err != nil {
		return fmt.Errorf("starting QEMU: %w", err)
	}
	vm.console = newConsole(config.Console)
	go vm.watch(serial, monitor, &stderr)
	return nil
}

// watch reads until QEMU is gone, then settles how it ended.
func (vm *VM) watch(serial io.Reader, monitor io.ReadWriteCloser, stderr *bytes.Buffer) {
	defer close(vm.ended)
	reasons := make(chan End, 1)
	go func() { reasons <- shutdownReason(monitor) }()
	vm.console.read(serial)
	vm.end = <-reasons
	err := vm.qemu.Wait()
	_ = end(vm.swtpm) // swtpm ends with its peer; only one that hangs is left to end
	if vm.end == Killed && stderr.Len() > 0 && !wasKilled(err) {
		vm.err = fmt.Errorf("running QEMU: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
}

func wasKilled(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.Sys().(syscall.WaitStatus).Signaled()
}

// Wait returns once the VM has ended. The error is ctx's, or what QEMU said when it failed.
func (vm *VM) Wait(ctx context.Context) (End, error) {
	select {
	case <-ctx.Done():
		return Killed, fmt.Errorf("waiting for the end of the VM: %w\n%s", context.Cause(ctx), vm.console.tail())
	case <-vm.ended:
		return vm.end, vm.err
	}
}

// Kill cuts the power: what the guest wrote to its disks until now stays, all else is lost.
func (vm *VM) Kill() {
	_ = vm.qemu.Process.Kill() // fails only for a process that has ended already
	<-vm.ended
}

// Close ends all that Boot started and removes its scratch files. Further calls do nothing.
func (vm *VM) Close() error { return vm.close() }

func (vm *VM) release() error {
	vm.Kill()
	return os.RemoveAll(vm.scratch)
}

// Lines returns the console so far.
func (vm *VM) Lines() []Line { return vm.console.all() }

// WaitLine returns the first line since power-on for which match holds. The error names the last lines of the console;
// it is ErrEnded if the VM ended without such a line.
func (vm *VM) WaitLine(ctx context.Context, match func(line string) bool) (Line, error) {
	return vm.waitLine(ctx, 0, match)
}

// WaitLineAfter is WaitLine for the lines that follow after.
func (vm *VM) WaitLineAfter(ctx context.Context, after Line, match func(line string) bool) (Line, error) {
	return vm.waitLine(ctx, after.Index+1, match)
}

func (vm *VM) waitLine(ctx context.Context, index int, match func(string) bool) (Line, error) {
	line, err := vm.console.wait(ctx, index, match)
	if errors.Is(err, ErrEnded) {
		<-vm.ended
		err = errors.Join(err, vm.err)
	}
	return line, err
}

// WaitFor is WaitLine for a line that contains text.
func (vm *VM) WaitFor(ctx context.Context, text string) (Line, error) {
	line, err := vm.WaitLine(ctx, func(line string) bool { return strings.Contains(line, text) })
	if err != nil {
		return Line{}, fmt.Errorf("waiting for %q: %w", text, err)
	}
	return line, nil
}
