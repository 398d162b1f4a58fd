package cloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBrief(t *testing.T) {
	require.NoError(t, Brief(nil))
	for name, tc := range map[string]struct{ in, want string }{
		"short":        {"status 403", "status 403"},
		"several rows": {"GET x\nRESPONSE 403\r\n\t{}\n", "GET x; RESPONSE 403;  {}"},
		"terminal":     {"a\x1b[31mb\u202ec", "a [31mb c"},
		"long":         {strings.Repeat("x", 1<<20), strings.Repeat("x", maxError) + " ... (1048576 bytes)"},
		"cut rune":     {"x" + strings.Repeat("é", maxError), "x" + strings.Repeat("é", 149) + " ... (601 bytes)"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, Brief(errors.New(tc.in)).Error()) })
	}
	require.ErrorIs(t, Brief(fmt.Errorf("asking: %w", context.DeadlineExceeded)), context.DeadlineExceeded)
}
