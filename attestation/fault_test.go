package attestation_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
)

func TestClassOf(t *testing.T) {
	quote := attestation.NewFault("quote", "invalid quote")
	for want, err := range map[string]error{
		"quote":   fmt.Errorf("refused: %w: %w", quote, errors.New("digest")),
		"timeout": fmt.Errorf("asking: %w", context.DeadlineExceeded),
		"":        errors.New("anything else"),
	} {
		assert.Equal(t, want, attestation.ClassOf(err))
	}
	assert.Empty(t, attestation.ClassOf(nil))
	assert.NotErrorIs(t, attestation.NewFault("quote", "invalid quote"), quote, "a sentinel is itself alone")
}
