package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"disk-mapper/attestation"
	"disk-mapper/internal/argument"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"

	"github.com/spf13/cobra"
)

const recoverHelp = `Recover hands control-plane nodes the keys of their state disks.

You need it after so many nodes restarted at once (power loss, say) that no node
is left to give the others their keys. Such a node prints "Waiting for decryption
key" on its serial console and listens on port 9999.

The endpoint is the cluster's load balancer, or one waiting node. Nodes behind it
are served one after the other until none answers any more; "Pushed recovery key."
is printed for each. Once the control plane has a quorum again (3 of 5 nodes, say),
the remaining nodes get their keys from the cluster without your help.

A node gets its key only if its attestation shows the expected measurements. For
nodes in a cloud the JSON file also says, with "variant", how they attest
themselves; about nodes at Google, Google is asked with the access token in
` + googleToken + `, unless the file pins their keys.

The master secret stays on this machine: a node gets the key of its own disk and
the cluster's measurement secret, nothing else. A wrong key does a node no harm:
it refuses the key and keeps waiting.

Exit status 0 means that all nodes that were found got their keys, or that none
was found waiting. 1 means that a node was found and not recovered, or that it
could not be tried; the message says what to do.`

const recoverExample = `  constellation recover
  constellation recover -e 203.0.113.7 --master-secret /media/usb/constellation-mastersecret.json
  constellation recover -e 10.42.1.100:9999 --measurements measurements.json`

type recoverOptions struct {
	endpoint     string
	masterSecret string
	compat       string
	trust        trust
	identity     string
}

func recoverCommand(files *workspace, speed pace) *cobra.Command {
	var opts recoverOptions
	command := &cobra.Command{
		Use:     "recover",
		Short:   "Give restarted control-plane nodes the keys of their disks",
		Long:    recoverHelp,
		Example: recoverExample,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.recover(cmd.Context(), *files, speed, cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil {
				return fmt.Errorf("recovering cluster: %w", err)
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.VarP(argument.NewWord(&opts.endpoint, ""), "endpoint", "e", "recover the nodes at `HOST[:PORT]` (default: port 9999 of the cluster's address in "+stateFile+" or "+clusterIDFile+")")
	flags.Var(argument.NewWord(&opts.masterSecret, defaultMasterSecret), "master-secret", "read the cluster's master secret from this `FILE`")
	flags.Var(argument.NewWord(&opts.trust.measurements, ""), "measurements", "read the expected measurements of nodes, and their variant, from this JSON `FILE`")
	flags.Var(argument.NewWord(&opts.trust.config, defaultConfig), "config", "read the expected measurements from this YAML `FILE` if there is no --measurements")
	flags.Var(argument.NewWord(&opts.identity, ""), "identity", "prove to nodes that demand it that you have this SSH key: a private key `FILE`, or a public one whose private key is in the SSH agent")
	flags.Var(argument.NewWord(&opts.compat, attestation.Profile224.Name), "compat", "be compatible with nodes of this `RELEASE`: 2.24 or 2.1")
	flags.BoolVar(&opts.trust.skipAttestation, "insecure-skip-attestation", false, "give the key to whatever answers at the endpoint")
	command.MarkFlagsMutuallyExclusive("measurements", "config", "insecure-skip-attestation") // no one of them is passed over
	return command
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %s: the address of the nodes goes with --endpoint", printable.Quote(args[0]))
	}
	return nil
}

func (o recoverOptions) recover(ctx context.Context, files workspace, speed pace, out, notes io.Writer) error {
	profile, err := attestation.ParseProfile(o.compat)
	if err != nil {
		return err
	}
	o.trust.profile = profile
	secretFile := files.path(o.masterSecret)
	master, err := keys.ReadMasterSecret(secretFile)
	if err != nil {
		return err
	}
	defer master.Wipe()
	warnOfExposed(keys.CheckPrivate(secretFile), notes)
	address, err := files.endpoint(o.endpoint)
	if err != nil {
		return err
	}
	nodes, err := o.trust.nodes(files, notes)
	if err != nil {
		return err
	}
	var operator *identity
	if o.identity != "" { // where ssh would look for it: not in the workspace
		key, err := readIdentity(o.identity, os.Getenv("SSH_AUTH_SOCK"), notes)
		if err != nil {
			return err
		}
		operator = &key
	}
	caller := caller{address: address, nodes: nodes, master: master, secretFile: secretFile, pace: speed, operator: operator}
	return recovery{push: caller.push, pace: speed, out: out, notes: notes}.run(ctx)
}

// warnOfExposed does not refuse: see docs/decisions/0020-exposed-files.md.
func warnOfExposed(err error, notes io.Writer) {
	if err != nil {
		fmt.Fprintln(notes, "Warning:", err)
	}
}
