package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"disk-mapper/attestation"
	"disk-mapper/internal/argument"
	"disk-mapper/internal/printable"
)

// errUsage reports arguments that were refused; what was wrong with them has
// been printed already.
var errUsage = errors.New("wrong usage")

const help = `joinservice hands the nodes of one cluster the keys of their state disks.

A node that boots for the first time gets a join ticket, a restarted one a
rejoin ticket. Both hold keys derived from the master secret, and both are given
only to nodes whose attestation fulfils the policy. The Kubernetes members of a
join ticket (certificates, tokens, endpoint) stay empty: handing those out is up
to whoever runs Kubernetes on the nodes.

Usage:
  joinservice --policy FILE --measurement-salt FILE [flags]

Files:
  master secret     JSON {"key": base64, "salt": base64}, as made by
                    "constellation mastersecret create"
  measurement salt  32 raw bytes, the same for all nodes of the cluster in all
                    its life. It is no secret, but a node that is given another
                    one gets another cluster ID.
  policy            JSON, what the PCRs of an honest node hold:
                    {"measurements": {"4": "<hex>", "15": "00..", ...}}
                    or {"measurements": {"4": "<base64>", "12": "AA..", ...},
                    "enforcedPCRs": [4, 12]}
                    Nodes in a cloud need "variant" and what goes with it, as
                    told in docs/operations.md.
                    The cluster-ID PCR (15; 12 with --compat 2.1) has to be
                    zero, and PCR 4 to be enforced. A change counts from the
                    next node on. While the file is missing, broken or weaker
                    than that, the last good policy stays in force and an ERROR
                    is logged within seconds.

Flags:
`

type options struct {
	listen       string
	masterSecret string
	salt         string
	createSalt   bool
	policy       string
	attest       bool
	profile      attestation.Profile
	verbosity    int
}

// parseOptions prints help and complaints to terminal. It fails with
// flag.ErrHelp if help was asked for, else with errUsage.
func parseOptions(args []string, terminal io.Writer) (options, error) {
	var opts options
	flags := flag.NewFlagSet("joinservice", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {} // after a mistake, what was wrong would be scrolled away
	flags.Var(argument.NewWord(&opts.listen, "0.0.0.0:30090"), "listen", "serve on this `HOST:PORT`")
	flags.Var(argument.NewWord(&opts.masterSecret, "constellation-mastersecret.json"), "master-secret", "read the cluster's master secret from `FILE`")
	flags.Var(argument.NewWord(&opts.salt, ""), "measurement-salt", "read the cluster's measurement salt from `FILE`")
	flags.BoolVar(&opts.createSalt, "create-measurement-salt", false, "draw a salt if the file is missing: for the first start in a cluster's life")
	flags.Var(argument.NewWord(&opts.policy, ""), "policy", "accept only nodes that fulfil the attestation policy in `FILE`")
	flags.BoolVar(&opts.attest, "attest", false, "attest this machine to nodes, as one of the policy's variant: for nodes whose image has a policy for JoinServices")
	var compat string
	flags.Var(argument.NewWord(&compat, attestation.Profile224.Name), "compat", "be compatible with the nodes of this `RELEASE`: 2.24 or 2.1")
	flags.Var(argument.NewNumber(&opts.verbosity), "v", "log `LEVEL`: -1 debug, 0 info, 1 warnings, 2 errors")

	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(terminal)
		fmt.Fprint(terminal, help)
		flags.PrintDefaults()
		return options{}, err
	}
	if err == nil {
		var profileErr error
		opts.profile, profileErr = attestation.ParseProfile(compat)
		err = errors.Join(profileErr, opts.complete(), noArguments(flags.Args()))
	} else {
		err = printable.Error(err)
	}
	if err != nil {
		fmt.Fprintf(terminal, "%v\nSee joinservice --help.\n", err)
		return options{}, errUsage
	}
	return opts, nil
}

func (o options) complete() error {
	var err error
	if o.salt == "" {
		err = errors.New("missing flag --measurement-salt FILE")
	}
	if o.policy == "" {
		err = errors.Join(err, errors.New("missing flag --policy FILE"))
	}
	return err
}

func noArguments(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %s", printable.Quote(rest[0]))
	}
	return nil
}
