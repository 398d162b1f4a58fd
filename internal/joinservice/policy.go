package joinservice

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"go.uber.org/zap"
)

// watchInterval is how soon a file that breaks is noticed while no node comes.
const watchInterval = 2 * time.Second

// PolicyFile judges nodes by the policy in a file, as the file is at that
// moment: it is read anew for each node, so that a change counts at once and
// no clock or time stamp has a say, and by Watch. A file that is missing, broken or
// weaker than it may be keeps the last good policy in force and is logged as an error,
// once per change.
type PolicyFile struct {
	path  string
	judge Judge
	log   *zap.Logger

	mu      sync.Mutex
	current attestation.Validator
	policy  verify.Policy // that current judges by, as it is in the file
	seen    fileState
}

// Judge makes the validator of a policy, unless the policy is none for nodes.
type Judge func(verify.Policy) (attestation.Validator, error)

// fileState is what was found in the file when it was last looked at.
type fileState struct {
	content []byte
	failure string
}

// OpenPolicyFile reads the file at path and fails if it holds no policy, or one that
// judge refuses; the format is that of verify.ParsePolicy. Nodes are judged by
// judge(policy).
func OpenPolicyFile(path string, judge Judge, log *zap.Logger) (*PolicyFile, error) {
	raw, err := verify.ReadPolicyFile(path)
	if err != nil {
		return nil, err
	}
	p := &PolicyFile{path: path, judge: judge, log: log, seen: fileState{content: raw}}
	if err := p.use(raw); err != nil {
		return nil, fmt.Errorf("attestation policy %s: %w", path, err)
	}
	return p, nil
}

// use puts the policy in raw in force, or leaves all as it is.
func (p *PolicyFile) use(raw []byte) error {
	policy, err := verify.ParsePolicy(raw)
	if err != nil {
		return err
	}
	current, err := p.judge(policy)
	if err != nil {
		return err
	}
	p.current, p.policy = current, policy
	return nil
}

// Policy is the one in force.
func (p *PolicyFile) Policy() verify.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.policy
}

// Watch notices a change of the file also while no node comes, until ctx ends.
func (p *PolicyFile) Watch(ctx context.Context) {
	poll := time.NewTicker(watchInterval)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			p.inForce()
		}
	}
}

// Variant is that of the policy in force.
func (p *PolicyFile) Variant() attestation.Variant { return p.inForce().Variant() }

// Validate judges by the policy in the file.
func (p *PolicyFile) Validate(ctx context.Context, document, userData, nonce []byte) error {
	return p.inForce().Validate(ctx, document, userData, nonce)
}

func (p *PolicyFile) inForce() attestation.Validator {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := fileState{}
	raw, err := verify.ReadPolicyFile(p.path)
	if err != nil {
		found.failure = err.Error()
	}
	found.content = raw
	if !p.seen.equal(found) {
		p.seen = found
		p.reload(raw, err)
	}
	return p.current
}

func (p *PolicyFile) reload(raw []byte, err error) {
	if err == nil {
		err = p.use(raw)
	}
	if err != nil {
		p.log.Error("Failed to reload attestation policy, the last good one stays in force", zap.String("file", p.path), zap.Error(err))
		return
	}
	p.log.Info("Reloaded attestation policy", zap.String("file", p.path),
		zap.Ints("unenforced", p.policy.Unenforced()), zap.Strings("weaknesses", p.policy.Weaknesses()))
}

func (s fileState) equal(other fileState) bool {
	return s.failure == other.failure && bytes.Equal(s.content, other.content)
}
