package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/gce"
	"disk-mapper/attestation/verify"
	"disk-mapper/internal/cloud"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"

	"go.yaml.in/yaml/v3"
)

const defaultConfig = "constellation-conf.yaml"

// googleToken is the variable in which tools of Google's cloud look for an
// operator's access token.
const googleToken = "GOOGLE_OAUTH_ACCESS_TOKEN"

const howToMeasure = `a node could not be told from an impostor that wants the key.
Say what an honest node measures, in one of these ways:
  --measurements FILE   JSON {"measurements": {"4": {"expected": "<hex>"}, ...}};
                        with "variant" for nodes in a cloud
  --config FILE         YAML with attestation.qemuVTPM.measurements (or, up to
                        v2.1, provider.qemu.measurements); the default is
                        ` + defaultConfig + ` in the workspace
Or hand the key to whatever answers, with --insecure-skip-attestation.`

// trust is what the operator says about honest nodes.
type trust struct {
	measurements    string // file, counts before config
	config          string // file
	skipAttestation bool
	profile         attestation.Profile
}

// nodes returns the policy about nodes. There is no default that accepts them
// unseen: without expected measurements it fails and says how to give them.
func (t trust) nodes(files workspace, notes io.Writer) (atls.Policy, error) {
	if t.skipAttestation {
		fmt.Fprintln(notes, "Warning: the attestation of nodes is NOT checked. Whoever answers at the endpoint gets the key of the disk that it names.")
		return atls.AcceptAnyPeer, nil // the operator has asked for it in so many words
	}
	expected, err := t.expected(files)
	if err != nil {
		return atls.Policy{}, err
	}
	warnOfExposed(keys.CheckUnchangeable(files.path(cmp.Or(t.measurements, t.config))), notes)
	if open := expected.Unenforced(); len(open) > 0 {
		fmt.Fprintf(notes, "Note: of PCRs 0 to 15, these may hold any value: %s.\n", strings.Trim(fmt.Sprint(open), "[]"))
	}
	for _, weakness := range expected.Weaknesses() {
		fmt.Fprintf(notes, "Note: %s.\n", weakness)
	}
	warn := func(_ context.Context, text string) { fmt.Fprintln(notes, "Warning:", text) }
	return atls.Require(verify.New(expected, t.profile.Binding, gce.New(cloud.NewHTTPClient(), os.Getenv(googleToken)), warn)), nil
}

func (t trust) expected(files workspace) (verify.Policy, error) {
	if t.measurements == "" {
		return t.configPolicy(files)
	}
	path := files.path(t.measurements)
	raw, err := verify.ReadPolicyFile(path)
	if err != nil {
		return verify.Policy{}, fmt.Errorf("expected measurements: %w", printable.Error(err))
	}
	policy, err := verify.ParsePolicy(raw)
	if err == nil {
		policy, err = policy.ForWaiting(t.profile)
	}
	if err != nil {
		return verify.Policy{}, fmt.Errorf("expected measurements %s: %w", printable.Text(path), err)
	}
	return policy, nil
}

func (t trust) configPolicy(files workspace) (verify.Policy, error) {
	path := files.path(t.config)
	var config configFile
	err := files.read(t.config, yaml.Unmarshal, &config)
	if err == nil {
		policy, err := config.policy()
		if err == nil {
			policy, err = policy.ForWaiting(t.profile)
		}
		if err == nil {
			return policy, nil
		}
		return verify.Policy{}, refusal(fmt.Errorf("%s: %w", printable.Text(path), err))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return verify.Policy{}, refusal(fmt.Errorf("%w: %w", errNoMeasurements, err))
	}
	return verify.Policy{}, err
}

// refusal adds the ways out to an error that no correction in the file mends.
func refusal(err error) error {
	if errors.Is(err, errNoMeasurements) || errors.Is(err, errVariant) {
		return fmt.Errorf("%w: %s", err, howToMeasure)
	}
	return err
}
