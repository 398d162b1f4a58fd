package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/gce"
	"disk-mapper/attestation/verify"
	"disk-mapper/internal/cloud"

	"go.uber.org/zap"
)

// joinPolicyFile is part of the image, and so measured with it: no host can take
// it away or change it unnoticed.
const joinPolicyFile = "/etc/disk-mapper/joinservice-policy.json"

// joinPolicy says which JoinServices this node believes: with a policy file those
// that fulfil it, else any.
func joinPolicy(path string, profile attestation.Profile, log *zap.Logger) (atls.Policy, error) {
	policy, err := readJoinPolicy(path, profile)
	if errors.Is(err, fs.ErrNotExist) {
		log.Warn("JoinServices are not verified", zap.String("reason", "the image has no "+path),
			zap.String("consequence", "whoever answers learns that this node exists, and can make it try a wrong key"))
		// A JoinService of v2.x has no attestation to show. A rogue one can hand out a
		// key; it fails at the disk.
		return atls.AcceptAnyPeer, nil
	}
	if err != nil {
		return atls.Policy{}, fmt.Errorf("policy for JoinServices: %w", err)
	}
	log.Info("JoinServices are verified", zap.String("policy", path), zap.Ints("unenforced", policy.Unenforced()),
		zap.Strings("weaknesses", policy.Weaknesses()))
	return atls.Require(verify.New(policy, profile.Binding, gce.New(cloud.NewHTTPClient(), ""), warnOnce(log))), nil
}

// maxWarnings is how many differences from the policy are written in a boot. Without
// pinned keys, whoever answers can make up as many as he likes.
const maxWarnings = 16

// warnOnce writes each warning the first time.
func warnOnce(log *zap.Logger) func(context.Context, string) {
	var mu sync.Mutex
	said := map[string]bool{}
	return func(_ context.Context, text string) {
		mu.Lock()
		defer mu.Unlock()
		if said[text] || len(said) == maxWarnings {
			return
		}
		said[text] = true
		log.Warn("JoinService differs from the policy, not enforced", zap.String("warning", text), zap.Bool("last", len(said) == maxWarnings))
	}
}

func readJoinPolicy(path string, profile attestation.Profile) (verify.Policy, error) {
	raw, err := verify.ReadPolicyFile(path)
	if err != nil {
		return verify.Policy{}, err
	}
	policy, err := verify.ParsePolicy(raw)
	if err != nil {
		return verify.Policy{}, fmt.Errorf("%s: %w", path, err)
	}
	policy, err = policy.ForServing(profile)
	if err != nil {
		return verify.Policy{}, fmt.Errorf("%s: %w", path, err)
	}
	return policy, nil
}
