package verify

import (
	"fmt"
	"maps"
)

// Without returns the policy without what it expects of one PCR. It fails with
// ErrPolicy if nothing is enforced then.
func (p Policy) Without(pcr int) (Policy, error) {
	rest := maps.Clone(p.measurements)
	delete(rest, pcr)
	checked, err := NewPolicy(rest)
	if err != nil {
		return Policy{}, fmt.Errorf("without PCR %d: %w", pcr, err)
	}
	p.measurements = checked.measurements
	return p, nil
}
