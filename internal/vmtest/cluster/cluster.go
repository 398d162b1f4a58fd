// Package cluster is the world around one node under test: the operator's
// files, the JoinService, and the calls that an operator makes. Everything is
// the real program, run as a process, on loopback.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"disk-mapper/attestation"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"
	"disk-mapper/internal/vmtest/metadata"
)

// The ports at which the node finds its world, all at vmtest.HostAddress.
const (
	joinAddress     = "127.0.0.1:30090"
	metadataAddress = "127.0.0.1:8080"
	recoveryPort    = 9999
)

const (
	masterSecretFile = "constellation-mastersecret.json"
	saltFile         = "measurement-salt"
	policyFile       = "measurements.json"
	bootDisk         = "boot-disk"
)

// Cluster is one cluster with one node.
type Cluster struct {
	dir      string // its files
	programs string // the built binaries
	profile  attestation.Profile
	join     *exec.Cmd
	joinLog  io.Writer
	metadata *http.Server
}

// New makes a cluster with the files in dir, which must be there, and the
// programs of the build directory. The policy wants the cluster-ID PCR to be
// zero, so that only a node that waits for its key gets it, and in PCR 4 what the
// node said at its latest boot (NodeConfig): before the first one, nobody gets a key.
// joinLog takes the JoinService's log.
func New(dir, programs string, profile attestation.Profile, joinLog io.Writer) (*Cluster, error) {
	programs, err := filepath.Abs(programs) // commands run in dir
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, programs: programs, profile: profile, joinLog: joinLog}
	return c, errors.Join(c.expect(strings.Repeat("0", 64)), vmtest.NewDisk(c.File(bootDisk), 1<<20))
}

// File is the path of one of the cluster's files.
func (c *Cluster) File(name string) string { return filepath.Join(c.dir, name) }

// SetMasterSecret writes the operator's file.
func (c *Cluster) SetMasterSecret(json []byte) error {
	return os.WriteFile(c.File(masterSecretFile), json, 0o600)
}

// SetSalt writes the measurement salt that the JoinService hands out.
func (c *Cluster) SetSalt(salt []byte) error { return os.WriteFile(c.File(saltFile), salt, 0o600) }

// StartMetadata serves what the node asks of its platform: it is a control-plane
// node, the host stands for the load balancer, and peers are the addresses of
// further control-plane nodes.
func (c *Cluster) StartMetadata(ctx context.Context, peers ...string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", metadataAddress)
	if err != nil {
		return fmt.Errorf("starting the metadata server: %w", err)
	}
	c.metadata = &http.Server{Handler: network(peers).Handler()}
	go func() { _ = c.metadata.Serve(listener) }() // ends with Close
	return nil
}

func network(peers []string) metadata.Network {
	n := metadata.Network{Endpoint: vmtest.HostAddress}
	for i, ip := range append([]string{vmtest.GuestAddress}, peers...) {
		name := fmt.Sprintf("control-plane-%d", i)
		n.Nodes = append(n.Nodes, cloud.Instance{Name: name, ProviderID: "qemu:///hostname/" + name, Role: cloud.ControlPlane, VPCIP: ip})
	}
	return n
}

// Close ends whatever runs.
func (c *Cluster) Close() error {
	var err error
	if c.metadata != nil {
		err = c.metadata.Close()
	}
	return errors.Join(err, c.StopJoinService())
}

// StartJoinService returns when the service listens.
func (c *Cluster) StartJoinService(ctx context.Context) error {
	c.join = exec.Command(filepath.Join(c.programs, "joinservice"), // ends with Close, not with ctx
		"--listen", joinAddress, "--master-secret", c.File(masterSecretFile), "--measurement-salt", c.File(saltFile),
		"--create-measurement-salt", "--policy", c.File(policyFile), "--compat", c.profile.Name)
	c.join.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := c.join.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.join.Start(); err != nil {
		return fmt.Errorf("starting the JoinService: %w", err)
	}
	ready := make(chan struct{})
	go func() { _, _ = io.Copy(&watcher{out: c.joinLog, text: "Starting JoinService", seen: ready}, log) }()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("waiting for the JoinService: %w", ctx.Err()), c.StopJoinService())
	}
}

// StopJoinService returns when the service is gone.
func (c *Cluster) StopJoinService() error {
	if c.join == nil {
		return nil
	}
	join := c.join
	c.join = nil
	if err := join.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the JoinService: %w", err)
	}
	return join.Wait()
}

// watcher passes a log on and closes seen at the first line that contains text.
type watcher struct {
	out  io.Writer
	text string
	seen chan struct{}
	done bool
	tail []byte
}

func (w *watcher) Write(b []byte) (int, error) {
	w.tail = append(w.tail, b...)
	if !w.done && bytes.Contains(w.tail, []byte(w.text)) {
		w.done = true
		close(w.seen)
	}
	if end := bytes.LastIndexByte(w.tail, '\n'); end >= 0 {
		w.tail = w.tail[end+1:]
	}
	return w.out.Write(b)
}

// Outcome is what a command printed and how it ended.
type Outcome struct {
	Exit   int
	Stdout string
	Stderr string
}

// Operator runs the operator's CLI. What it prints goes to live as it comes.
func (c *Cluster) Operator(ctx context.Context, live io.Writer, args ...string) (Outcome, error) {
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, filepath.Join(c.programs, "constellation"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, io.MultiWriter(&stdout, live), io.MultiWriter(&stderr, live)
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		err = nil // the status is part of the outcome
	}
	return Outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, err
}

// RecoverArgs are the arguments that recover the node with the cluster's files.
func (c *Cluster) RecoverArgs() []string {
	return []string{"recover", "-e", fmt.Sprintf("127.0.0.1:%d", recoveryPort), "--master-secret", masterSecretFile,
		"--measurements", policyFile, "--compat", c.profile.Name}
}

// emulation turns off what QEMU emulates slowly: argon2 takes 3 s without SSE and
// 15 s with it; a real processor is faster with it.
// Without the pause after a failure, tests of failures need less patience.
// What the firmware started, QEMU's changes to it included, the node says itself.
const emulation = "[Service]\nEnvironment=GODEBUG=cpu.sse41=off\nExecStopPost=\n" +
	"ExecStartPre=-/bin/sh -c 'echo \"" + booted + "$(cat /sys/class/tpm/tpm0/pcr-sha256/4)\"'\n"

// NodeConfig is a boot of the node with this state disk; first boots and later
// ones are alike.
func (c *Cluster) NodeConfig(image vmtest.Image, console io.Writer, stateDisk string) vmtest.Config {
	disks := []string{stateDisk}
	if c.profile == attestation.Profile224 {
		disks = []string{c.File(bootDisk), stateDisk} // where the state disk is the second
	}
	return vmtest.Config{
		Image: image,
		Overlay: []vmtest.File{
			{Path: "/usr/bin/disk-mapper", Host: filepath.Join(c.programs, "disk-mapper"), Mode: 0o755},
			{Path: "/usr/lib/systemd/system/disk-mapper.service.d/emulation.conf", Content: []byte(emulation)},
		},
		Disks:        disks,
		TPM:          vmtest.TPM{StateDir: c.File("tpm")},
		Cmdline:      []string{"constel.csp=qemu", "constel.attestation-variant=qemu-vtpm", "constel.compat=" + c.profile.Name},
		RecoveryPort: recoveryPort,
		Console:      &learner{out: console, learn: c.expect},
	}
}

// ClusterID follows from the cluster's master secret and salt.
func (c *Cluster) ClusterID() (keys.ClusterID, error) {
	master, err := keys.ReadMasterSecret(c.File(masterSecretFile))
	if err != nil {
		return keys.ClusterID{}, err
	}
	secret, err := master.MeasurementSecret()
	if err != nil {
		return keys.ClusterID{}, err
	}
	raw, err := os.ReadFile(c.File(saltFile))
	if err != nil {
		return keys.ClusterID{}, err
	}
	salt, err := keys.NewMeasurementSalt(raw)
	if err != nil {
		return keys.ClusterID{}, err
	}
	return keys.NewClusterID(secret, salt)
}
