package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/vmtest"
	"disk-mapper/internal/vmtest/cluster"
)

const diskSize = 256 << 20

// story is the node's life as it is told.
type story struct {
	*cluster.Cluster
	image  vmtest.Image
	disk   string
	out    io.Writer
	start  time.Time
	failed int
}

// tell runs the chapters in dir. The error says how many checks did not hold, or
// what kept the story from being told.
func tell(ctx context.Context, image vmtest.Image, dir, programs string, out io.Writer) error {
	s := &story{image: image, out: out, start: time.Now()}
	var err error
	if s.Cluster, err = cluster.New(dir, programs, attestation.Profile224, &prefixed{out: out, prefix: "  joinservice | "}); err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // what has not ended by then is ended
	s.disk = s.File("state-disk")
	for _, chapter := range []func(context.Context) error{s.world, s.firstBoot, s.rejoin, s.recovery} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	if s.failed > 0 {
		return fmt.Errorf("%d checks did not hold", s.failed)
	}
	s.say("All held, after %v.", time.Since(s.start).Round(time.Second))
	return nil
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, "\n== "+format+"\n", args...) }

func (s *story) check(ok bool, what string) {
	mark := "ok    "
	if !ok {
		mark = "FAILED"
		s.failed++
	}
	fmt.Fprintf(s.out, "   %s %s\n", mark, what)
}

func (s *story) world(ctx context.Context) error {
	s.say("The cluster: a master secret, a metadata server and a JoinService on this machine.")
	made, err := s.operate(ctx, "mastersecret", "create")
	if err != nil {
		return err
	}
	s.check(made.Exit == 0, "the operator has a master secret")
	return errors.Join(s.StartMetadata(ctx), s.StartJoinService(ctx), vmtest.NewDisk(s.disk, diskSize))
}

func (s *story) firstBoot(ctx context.Context) error {
	s.say("Boot 1: a blank disk. The node formats it and joins the cluster.")
	return s.boot(ctx, nil, "Preparing new state disk", "Wiping disk", "Wiping disk successful", "node: joined", "node: history: first boot")
}

func (s *story) rejoin(ctx context.Context) error {
	s.say("Boot 2: the JoinService is up. The node rejoins by itself.")
	return s.boot(ctx, nil, "Preparing existing state disk", "Successfully retrieved rejoin ticket", "node: history: first boot")
}

func (s *story) recovery(ctx context.Context) error {
	s.say("Boot 3: the JoinService is down. The node waits for its operator.")
	if err := s.StopJoinService(); err != nil {
		return err
	}
	return s.boot(ctx, s.recover, "Preparing existing state disk", "Waiting for decryption key",
		"Received state disk key and measurement secret, shutting down server", "node: history: first boot")
}

// recover is the operator's part.
func (s *story) recover(ctx context.Context, vm *vmtest.VM) error {
	if _, err := vm.WaitFor(ctx, "Starting RecoveryServer"); err != nil {
		return err
	}
	outcome, err := s.operate(ctx, s.RecoverArgs()...)
	if err != nil {
		return err
	}
	s.check(outcome.Exit == 0 && strings.Contains(outcome.Stdout, "Pushed recovery key."), "constellation recover pushed the key")
	return nil
}

// operate shows the operator's command and what it prints.
func (s *story) operate(ctx context.Context, args ...string) (cluster.Outcome, error) {
	terminal := &prefixed{out: s.out, prefix: "  operator | "}
	fmt.Fprintf(terminal, "$ constellation %s\n", strings.Join(args, " "))
	return s.Operator(ctx, terminal, args...)
}

// boot runs the node from power-on to power-off and checks that its console
// showed the lines, in this order, and that the cluster ID was measured.
func (s *story) boot(ctx context.Context, meanwhile func(context.Context, *vmtest.VM) error, lines ...string) error {
	start := time.Now()
	vm, err := vmtest.Boot(ctx, s.NodeConfig(s.image, &prefixed{out: s.out, prefix: "  node | "}, s.disk))
	if err != nil {
		return err
	}
	defer vm.Close()
	if meanwhile != nil {
		if err := meanwhile(ctx, vm); err != nil {
			return err
		}
	}
	end, err := vm.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	s.checkOrder(vm.Lines(), lines)
	want, err := s.clusterPCR()
	if err != nil {
		return err
	}
	s.checkOrder(vm.Lines(), []string{fmt.Sprintf("node: PCR %d %X", attestation.Profile224.ClusterIDPCR, want), "node: up"})
	s.check(end == vmtest.PowerOff, fmt.Sprintf("the node went through its whole boot, in %v", time.Since(start).Round(time.Second)))
	return nil
}

func (s *story) checkOrder(console []vmtest.Line, wanted []string) {
	at := 0
	for _, want := range wanted {
		for at < len(console) && !strings.Contains(console[at].Text, want) {
			at++
		}
		s.check(at < len(console), "the console shows: "+want)
	}
}

// clusterPCR is what the cluster-ID PCR must hold: it follows from the
// operator's two files.
func (s *story) clusterPCR() ([]byte, error) {
	id, err := s.ClusterID()
	if err != nil {
		return nil, err
	}
	return pcrAfter(id), nil
}

// pcrAfter is a SHA-256 PCR that was zero before the event.
func pcrAfter(id keys.ClusterID) []byte {
	event := sha256.Sum256(id.Bytes())
	pcr := sha256.Sum256(append(make([]byte, sha256.Size), event[:]...))
	return pcr[:]
}

// prefixed puts a prefix before each line.
type prefixed struct {
	out    io.Writer
	prefix string
	begun  bool
}

func (p *prefixed) Write(b []byte) (int, error) {
	var lines strings.Builder
	for _, c := range string(b) {
		if !p.begun {
			lines.WriteString(p.prefix)
		}
		lines.WriteRune(c)
		p.begun = c != '\n'
	}
	_, err := io.WriteString(p.out, lines.String())
	return len(b), err
}
