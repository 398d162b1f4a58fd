package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"disk-mapper/attestation"
	"disk-mapper/attestation/issue"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/disk"
	"disk-mapper/internal/argument"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/kernelline"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"
	"disk-mapper/internal/sshproof"
	"disk-mapper/rejoinclient"
)

// options is what the command line, the environment and the kernel command line
// say. None of them overrides another: where two differ, that is an error.
type options struct {
	platform  platform
	variant   attestation.Variant
	profile   attestation.Profile
	verbosity int
	enroll    bool
	// formatNonzero has a disk formatted that is not zeros, if nothing recognises it.
	formatNonzero bool
	// requireBlank is so anyhow; it is here because it forbids formatNonzero.
	requireBlank bool
	// extent is how much of a new disk is wiped before it is used.
	extent disk.Extent
	// operators are who may recover this node; if there are none, anybody with the key.
	operators sshproof.Keys
	// joinServices are those on the kernel command line, if there are any.
	joinServices []rejoinclient.Endpoints
	// cluster is the only one that this node may belong to; the zero value is any.
	cluster keys.ClusterID
}

const usage = `disk-mapper brings up the encrypted state disk of a confidential VM.

  disk-mapper [flags]           run once per boot, in the initrd: format a new disk, or
                                wait for the key of one that has joined a cluster
  disk-mapper enroll [flags]    run once per life of a node, after the disk was formatted
                                and mounted at /run/state: fetch a join ticket, measure
                                the cluster ID, make the disk belong to the cluster
  disk-mapper grow [-v N]       run in the booted system, as a unit: wipe the rest of a new disk
                                behind its file system, mounted at /run/state, and grow the
                                file system over it; ends when it fills the disk
  disk-mapper status [-json]    say how far that is
  disk-mapper inspect DISK      say what a disk, or a file with its contents, is to the daemon,
                                and why; never writes (see disk-mapper inspect -help)
  disk-mapper header ...        keep the header of a disk that has joined, and put it back when it is
                                lost (see disk-mapper header -help)
  disk-mapper wipe DISK         make a disk new again that nobody needs any more; says what is on
                                it, and asks before it writes

What a flag does not say, the kernel command line does: constel.csp=, constel.compat=,
constel.attestation-variant=. The variant may also be in the environment variable
CONSTEL_ATTESTATION_VARIANT. None overrides another: where two differ, the daemon refuses both. A flag that is
empty or given twice is an error, and so is a variable CONSTEL_* that is empty or unknown.

The kernel command line is read as the kernel reads it: "_" is "-" in a name, a value may stand in
double quotes. What follows "--" counts as well. Words of constel.state-disk=,
constel.recovery-authorized-key= and constel.join-endpoints= add up; of the others there may be one.
A name beginning with constel. that is not known, or looks like a misspelt one, is an error.

constel.state-disk=WORD[,WORD] on the kernel command line: with full-wipe, a new disk is wiped
to its end before it is used, which takes as long as writing it once. A new disk is one of zeros,
and nothing else is formatted (require-blank says the same again). With format-nonzero, for platforms
that hand out dirty disks, what is not zeros is formatted if neither this program nor libblkid
recognises it.

constel.recovery-authorized-key=ssh-ed25519:BASE64 on the kernel command line: only who
proves this SSH key may recover the node. Several are separated by commas, or each has a
word of its own. It is a public key as in authorized_keys, with a colon for the space.

constel.join-endpoints=HOST[:PORT],... on the kernel command line: JoinServices to ask beside
those that the platform names.

constel.cluster-id=HEX on the kernel command line: the only cluster that this node may belong to,
by its ID, 64 hexadecimal digits. A node that would measure another closes its disk and says which.

Flags:
`

// parseOptions fails with flag.ErrHelp when help was asked for and printed.
func parseOptions(args []string, getenv func(string) string, kernel string, out io.Writer) (options, error) {
	var o options
	if len(args) > 0 && args[0] == "enroll" {
		o.enroll, args = true, args[1:]
	}
	f := flag.NewFlagSet("disk-mapper", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {} // mistakes go to the log: this may be a console
	var csp, compat string
	f.Var(argument.NewWord(&csp, ""), "csp", "cloud platform: "+platformNames())
	f.Var(argument.NewWord(&compat, ""), "compat", "compatibility profile: 2.24 or 2.1 (default 2.24)")
	f.Var(argument.NewNumber(&o.verbosity), "v", "log level: -1 also shows debug lines, 1 only warnings, 2 only errors")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printUsage(f, out)
		}
		return options{}, printable.Error(err)
	}
	if f.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %s: want flags, or enroll, grow, status, inspect, header or wipe as the first word", printable.Quote(f.Arg(0)))
	}
	line, err := kernelline.Parse(kernel)
	if err != nil {
		return options{}, err
	}
	if err := o.setMachine(line, csp, compat, getenv(variantVariable)); err != nil {
		return options{}, err
	}
	return o, errors.Join(o.setStateDisk(line), o.setOperators(line), o.setJoinServices(line), o.setCluster(line))
}

const variantVariable = "CONSTEL_ATTESTATION_VARIANT"

// setMachine sets what kind of machine this is. All faults are named at once, but
// the default of the variant depends on platform and profile.
func (o *options) setMachine(line kernelline.Line, csp, compat, variant string) error {
	csp, cspErr := agreed(said{"flag -csp", strings.ToLower(csp)}, onLine(line, kernelline.Platform, strings.ToLower))
	compat, compatErr := agreed(said{"flag -compat", compat}, onLine(line, kernelline.Compat, strings.Clone))
	variant, variantErr := agreed(said{"environment variable " + variantVariable, variant}, onLine(line, kernelline.Variant, strings.Clone))
	if err := errors.Join(cspErr, compatErr, variantErr); err != nil {
		return err
	}
	o.platform, cspErr = findPlatform(csp)
	o.profile, compatErr = attestation.ParseProfile(cmp.Or(compat, attestation.Profile224.Name))
	if cspErr != nil || compatErr != nil {
		return errors.Join(cspErr, compatErr)
	}
	o.variant, variantErr = attestation.ParseVariant(cmp.Or(variant, string(o.platform.defaultVariant(o.profile))))
	if variantErr == nil && !o.variant.Has(o.profile.Binding) {
		variantErr = fmt.Errorf("attestation variant %q does not exist in profile %s: choose another with constel.attestation-variant=", o.variant, o.profile.Name)
	}
	return variantErr
}

// said is one place that can say something, and what it says.
type said struct{ where, value string }

func onLine(line kernelline.Line, name string, fold func(string) string) said {
	return said{name + "= on the kernel command line", fold(line.Value(name))}
}

// agreed is what is said. Two places that differ are an error: whoever starts the
// daemon must not weaken what is measured, and what is measured must not be taken
// for what was meant.
func agreed(a, b said) (string, error) {
	if a.value != "" && b.value != "" && a.value != b.value {
		return "", fmt.Errorf("%s says %s, and %s says %s: want the same, or one of them",
			a.where, printable.Quote(a.value), b.where, printable.Quote(b.value))
	}
	return cmp.Or(a.value, b.value), nil
}

// setOperators takes the keys of all words. What is misspelt must not let anybody in.
func (o *options) setOperators(line kernelline.Line) (err error) {
	if o.operators, err = sshproof.ParseKeys(line.List(kernelline.AuthorizedKey)); err != nil {
		return fmt.Errorf("%s= on the kernel command line: %w", kernelline.AuthorizedKey, err)
	}
	return nil
}

// setCluster reads constel.cluster-id=.
func (o *options) setCluster(line kernelline.Line) (err error) {
	id := line.Value(kernelline.ClusterID)
	if id == "" {
		return nil
	}
	if o.cluster, err = keys.ParseClusterID(id); err != nil {
		return fmt.Errorf("%s=%s on the kernel command line: %w", kernelline.ClusterID, printable.Text(id), err)
	}
	return nil
}

// setStateDisk reads constel.state-disk=. A word that is misspelt must not make
// the daemon less careful than it was meant to be.
func (o *options) setStateDisk(line kernelline.Line) error {
	for _, word := range line.List(kernelline.StateDisk) {
		switch word {
		case "require-blank":
			o.requireBlank = true
		case "format-nonzero":
			o.formatNonzero = true
		case "full-wipe":
			o.extent = disk.Whole
		default:
			return fmt.Errorf("unknown constel.state-disk=%s on the kernel command line, want full-wipe, format-nonzero, require-blank, or several with commas", printable.Quote(word))
		}
	}
	if o.requireBlank && o.formatNonzero {
		return errors.New("constel.state-disk= on the kernel command line: require-blank and format-nonzero contradict each other, want one of them")
	}
	return nil
}

// setJoinServices reads constel.join-endpoints=.
func (o *options) setJoinServices(line kernelline.Line) error {
	endpoints := line.List(kernelline.JoinEndpoints)
	if len(endpoints) == 0 {
		return nil
	}
	static, err := cloud.ParseEndpoints(strings.Join(endpoints, ","))
	if err != nil {
		return fmt.Errorf("constel.join-endpoints= on the kernel command line, want HOST[:PORT],...: %w", err)
	}
	o.joinServices = []rejoinclient.Endpoints{static}
	return nil
}

// metadata asks the platform, as clusters of the profile are marked there.
func (o options) metadata() cloud.Metadata { return o.platform.metadata(releases[o.profile.Name]) }

// issuer is how this machine attests itself.
func (o options) issuer(tpm *vtpm.TPM) (attestation.Issuer, error) {
	return issue.New(o.variant, tpm, o.profile.Binding, issue.Here(cloud.NewHTTPClient()))
}

// awaitStateDisk returns the path of the state disk when it is there.
func (o options) awaitStateDisk(ctx context.Context) (string, error) {
	return thisMachine.await(ctx, o.platform.stateDisk[o.profile.Name], o.platform.find)
}

// endpoints are all ways to find a JoinService, the most trusted first.
func (o options) endpoints(metadata cloud.Metadata) []rejoinclient.Endpoints {
	return append(slices.Clone(o.joinServices), cloud.LoadBalancer(metadata), cloud.ControlPlanes(metadata))
}

// openDisk is how the state disk is judged: strictly, unless the command line
// says otherwise.
func (o options) openDisk() func(context.Context, string) (*disk.Device, error) {
	if o.formatNonzero {
		return disk.OpenNonzero
	}
	return disk.Open
}

func printUsage(f *flag.FlagSet, out io.Writer) {
	_, _ = io.WriteString(out, usage)
	f.SetOutput(out)
	f.PrintDefaults()
}
