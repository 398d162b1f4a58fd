package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	qemuBinary        = "qemu-system-x86_64"
	firmwareCode      = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd"

	// Sockets that QEMU inherits, in the order of exec.Cmd.ExtraFiles.
	monitorFD = 3
	tpmFD     = 4
)

// bootFiles are the files made for one boot.
type bootFiles struct {
	initrd    string
	variables string
}

// Quiet, so that log lines reach the console whole; without what costs seconds under emulation; every end is QEMU's end.
var baseCmdline = []string{
	"console=ttyS0", "quiet", "loglevel=4", "systemd.show_status=no", "systemd.log_level=warning", "systemd.tty.term.console=dumb",
	"rd.systemd.unit=node.target", "rd.shell=0", "rd.emergency=reboot", "panic=-1", "8250.nr_uarts=1", "systemd.import_credentials=no",
	"mitigations=off", "cryptomgr.notests", "no_timer_check", "audit=0", "selinux=0", "apparmor=0",
}

// arguments is QEMU's command line.
func arguments(config Config, files bootFiles) []string {
	return slices.Concat(
		machine(), firmware(config.Firmware, files), console0(), monitor(),
		kernel(config, files), network(config), disks(config.Disks, config.Bus), tpm(config.TPM),
	)
}

func machine() []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
	}
}

func firmware(kind Firmware, files bootFiles) []string {
	if kind == BIOS {
		return nil
	}
	return []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + firmwareCode,
		"-drive", "if=pflash,unit=1,format=raw,file=" + escape(files.variables),
	}
}

func console0() []string {
	return []string{"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"}
}

func monitor() []string {
	return []string{"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", monitorFD), "-mon", "chardev=monitor,mode=control"}
}

func kernel(config Config, files bootFiles) []string {
	cmdline := strings.Join(slices.Concat(baseCmdline, config.Cmdline), " ")
	return []string{"-kernel", config.Image.Kernel, "-initrd", files.initrd, "-append", cmdline}
}

func network(config Config) []string {
	net, host, guest := "10.42.0.0/24", HostAddress, GuestAddress
	if config.LinkLocal {
		net, host, guest = "169.254.169.0/24", MetadataAddress, "169.254.169.15"
	}
	user := "user,id=net,ipv6=off,net=" + net + ",host=" + host + ",dhcpstart=" + guest
	if config.RecoveryPort != 0 {
		user += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-%s:%d", config.RecoveryPort, guest, RecoveryPort)
	}
	return []string{"-netdev", user, "-device", "virtio-net-pci,netdev=net,romfile="}
}

// disks ignores the guest's flushes: the host's page cache outlives the VM, also one that is killed.
func disks(paths []string, bus Bus) []string {
	var args []string
	if bus == SCSI {
		args = append(args, "-device", "virtio-scsi-pci,id=scsi")
	}
	for i, path := range paths {
		args = append(args,
			"-drive", fmt.Sprintf("if=none,id=disk%d,format=raw,cache=unsafe,file=%s", i, escape(path)),
			"-device", bus.device(i, escape(filepath.Base(path))))
	}
	return args
}

func (b Bus) device(number int, serial string) string {
	switch b {
	case SCSI:
		return fmt.Sprintf("scsi-hd,bus=scsi.0,scsi-id=0,lun=%d,drive=disk%d,vendor=Google,product=PersistentDisk,serial=%s", number, number, serial)
	case NVMe:
		return fmt.Sprintf("nvme,drive=disk%d,serial=%s", number, serial)
	}
	return fmt.Sprintf("virtio-blk-pci,drive=disk%d", number)
}

func tpm(tpm TPM) []string {
	if tpm.StateDir == "" {
		return nil
	}
	return []string{
		"-chardev", fmt.Sprintf("socket,id=tpm,fd=%d", tpmFD),
		"-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm",
	}
}

// escape makes a path safe inside an option list of QEMU.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// socketPair returns two connected sockets: nothing has to wait for a path to appear, and no path is too long.
func socketPair(name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making the %s socket: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// endWithParent ends a child also when a test is killed before its cleanup.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// end ends a started process and reaps it. It accepts nil.
func end(process *exec.Cmd) error {
	if process == nil {
		return nil
	}
	_ = process.Process.Kill() // fails only for a process that has ended already
	if err := process.Wait(); err != nil && !wasKilled(err) {
		return fmt.Errorf("ending %s: %w", process.Path, err)
	}
	return nil
}
