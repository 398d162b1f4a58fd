package verify

import (
	"fmt"
	"io"
	"os"
)

// maxPolicy is the greatest size in bytes of a policy file.
const maxPolicy = 1 << 20

// ReadPolicyFile returns what ParsePolicy takes. It fails if the file cannot be
// read, or has more bytes than any policy.
func ReadPolicyFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("attestation policy: %w", err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("attestation policy: %w", err)
	}
	if len(raw) > maxPolicy {
		return nil, fmt.Errorf("attestation policy %s: more than %d bytes", path, maxPolicy)
	}
	return raw, nil
}
