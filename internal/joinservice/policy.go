package joinservice

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"go.uber.org/zap"
)

// PolicyFile judges nodes by the policy in a file, as the file is at that
// moment: it is read anew for each node, so that a change counts at once and
// no clock or time stamp has a say. A file that is missing or broken keeps the
// last good policy in force and is logged as an error, once per change.
type PolicyFile struct {
	path  string
	judge func(verify.Policy) attestation.Validator
	log   *zap.Logger

	mu      sync.Mutex
	current attestation.Validator
	seen    fileState
}

// fileState is what was found in the file when it was last looked at.
type fileState struct {
	content []byte
	failure string
}

// OpenPolicyFile reads the file at path and fails if it holds no policy; the
// format is that of verify.ParsePolicy. Nodes are judged by judge(policy).
func OpenPolicyFile(path string, judge func(verify.Policy) attestation.Validator, log *zap.Logger) (*PolicyFile, error) {
	raw, err := verify.ReadPolicyFile(path)
	if err != nil {
		return nil, err
	}
	policy, err := verify.ParsePolicy(raw)
	if err != nil {
		return nil, fmt.Errorf("attestation policy %s: %w", path, err)
	}
	return &PolicyFile{path: path, judge: judge, log: log, current: judge(policy), seen: fileState{content: raw}}, nil
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
	var policy verify.Policy
	if err == nil {
		policy, err = verify.ParsePolicy(raw)
	}
	if err != nil {
		p.log.Error("Failed to reload attestation policy, the last good one stays in force", zap.String("file", p.path), zap.Error(err))
		return
	}
	p.current = p.judge(policy)
	p.log.Info("Reloaded attestation policy", zap.String("file", p.path))
}

func (s fileState) equal(other fileState) bool {
	return s.failure == other.failure && bytes.Equal(s.content, other.content)
}
