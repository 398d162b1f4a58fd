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
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/sshproof"
	"disk-mapper/rejoinclient"
)

// options is what the command line, the environment and the kernel command line
// say, in this order of precedence.
type options struct {
	platform  platform
	variant   attestation.Variant
	profile   attestation.Profile
	verbosity int
	enroll    bool
	// requireBlank forbids to format a disk that is not all zeros.
	requireBlank bool
	// extent is how much of a new disk is wiped before it is used.
	extent disk.Extent
	// operators are who may recover this node; if there are none, anybody with the key.
	operators sshproof.Keys
	// joinServices are those on the kernel command line, if there are any.
	joinServices []rejoinclient.Endpoints
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

What a flag does not say, the kernel command line does: constel.csp=,
constel.attestation-variant=, constel.compat=. The environment variable
CONSTEL_ATTESTATION_VARIANT stands between the two.

constel.state-disk=WORD[,WORD] on the kernel command line: with require-blank, a disk without
any known signature is formatted only if it is all zeros; with full-wipe, a new disk is wiped
to its end before it is used, which takes as long as writing it once.

constel.recovery-authorized-key=ssh-ed25519:BASE64 on the kernel command line: only who
proves this SSH key may recover the node. Several are separated by commas, or each has a
word of its own. It is a public key as in authorized_keys, with a colon for the space.

constel.join-endpoints=HOST[:PORT],... on the kernel command line: JoinServices to ask beside
those that the platform names.

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
	csp := f.String("csp", "", "cloud platform: "+platformNames())
	compat := f.String("compat", "", "compatibility profile: 2.24 or 2.1 (default 2.24)")
	f.IntVar(&o.verbosity, "v", 0, "log level: -1 also shows debug lines, 1 only warnings, 2 only errors")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printUsage(f, out)
		}
		return options{}, err
	}
	if f.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q: want flags, or enroll, grow, status or inspect as the first word", f.Arg(0))
	}
	on := kernelArguments(kernel)
	var platformErr, variantErr, profileErr error
	o.platform, platformErr = findPlatform(cmp.Or(*csp, on["constel.csp"]))
	o.profile, profileErr = attestation.ParseProfile(cmp.Or(*compat, on["constel.compat"], attestation.Profile224.Name))
	byDefault := string(o.platform.defaultVariant(o.profile))
	o.variant, variantErr = attestation.ParseVariant(cmp.Or(getenv("CONSTEL_ATTESTATION_VARIANT"), on["constel.attestation-variant"], byDefault))
	if platformErr != nil { // the variant's default depends on it
		return options{}, platformErr
	}
	if variantErr == nil && profileErr == nil && !o.variant.Has(o.profile.Binding) {
		variantErr = fmt.Errorf("attestation variant %q does not exist in profile %s: choose another with constel.attestation-variant=", o.variant, o.profile.Name)
	}
	return o, errors.Join(variantErr, profileErr, o.setStateDisk(on["constel.state-disk"]), o.setOperators(kernel), o.setJoinServices(on["constel.join-endpoints"]))
}

const authorizedKey = "constel.recovery-authorized-key"

// setOperators takes the keys of all words, not of the last alone: more words
// must not make fewer keys. What is misspelt must not let anybody in.
func (o *options) setOperators(kernel string) (err error) {
	var words []string
	for word := range strings.FieldsSeq(kernel) {
		if name, value, _ := strings.Cut(word, "="); name == authorizedKey {
			words = append(words, strings.Split(value, ",")...)
		}
	}
	if o.operators, err = sshproof.ParseKeys(words); err != nil {
		return fmt.Errorf("%s= on the kernel command line: %w", authorizedKey, err)
	}
	return nil
}

// setStateDisk reads constel.state-disk=. A word that is misspelt must not make
// the daemon less careful than it was meant to be.
func (o *options) setStateDisk(words string) error {
	if words == "" {
		return nil
	}
	for word := range strings.SplitSeq(words, ",") {
		switch word {
		case "require-blank":
			o.requireBlank = true
		case "full-wipe":
			o.extent = disk.Whole
		default:
			return fmt.Errorf("unknown constel.state-disk=%q on the kernel command line, want require-blank, full-wipe, or both with a comma", word)
		}
	}
	return nil
}

// setJoinServices reads constel.join-endpoints=.
func (o *options) setJoinServices(words string) error {
	if words == "" {
		return nil
	}
	static, err := cloud.ParseEndpoints(words)
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

// admit is the policy on what may be formatted, beyond what the disk itself says.
func (o options) admit(d *disk.Device) error {
	if o.requireBlank && d.State() == disk.Blank && !d.Zero() {
		return fmt.Errorf("%s carries no known signature, but is not all zeros (%s is not) and was left untouched: "+
			"constel.state-disk=require-blank forbids to format it; wipe it if nobody needs what is on it", d.Path(), d.Stray())
	}
	return nil
}

func printUsage(f *flag.FlagSet, out io.Writer) {
	_, _ = io.WriteString(out, usage)
	f.SetOutput(out)
	f.PrintDefaults()
}

// kernelArguments are the name=value words of the kernel command line. The last
// of several wins, as for the kernel itself.
func kernelArguments(line string) map[string]string {
	arguments := map[string]string{}
	for word := range strings.FieldsSeq(line) {
		if name, value, ok := strings.Cut(word, "="); ok {
			arguments[name] = value
		}
	}
	return arguments
}
