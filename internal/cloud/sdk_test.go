package cloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestErrorsArePrintable: whatever an SDK quotes of an answer.
func TestErrorsArePrintable(t *testing.T) {
	for name, text := range map[string]string{
		"short":        "status 403",
		"several rows": "GET x\nRESPONSE 403\r\n\t{}\n",
		"terminal":     "a\x1b[31mb\u202ec\u009b2J\u2028",
		"long":         strings.Repeat("x", 1<<20),
		"no UTF-8":     "\xff\xfe",
	} {
		t.Run(name, func(t *testing.T) {
			failed := fmt.Errorf("%s: %w", text, context.DeadlineExceeded)
			_, err := Bounded(t.Context(), func(context.Context) (int, error) { return 0, failed })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Less(t, len(err.Error()), printable.MaxError+32)
			for _, r := range err.Error() {
				assert.True(t, unicode.IsPrint(r), "%q", r)
			}
		})
	}
	_, err := Bounded(t.Context(), func(context.Context) (int, error) { return 0, nil })
	require.NoError(t, err)
}

// FuzzEndpointErrors: names and addresses of nodes are the platform's to choose.
func FuzzEndpointErrors(f *testing.F) {
	f.Add("\x1b[2J\u202e", "10.0.0.1\n10.0.0.2", "\xff")
	f.Fuzz(func(t *testing.T, name, host, said string) {
		nodes := []Instance{{Name: name, Role: ControlPlane, VPCIP: host}, {Name: host, Role: ControlPlane, VPCIP: name}, {Name: name, Role: ControlPlane, VPCIP: said}}
		_, parseErr := ParseEndpoints(host)
		_, listErr := ControlPlanes(platform{nodes: answer[[]Instance]{value: nodes}}).JoinEndpoints(t.Context())
		_, boundedErr := Bounded(t.Context(), func(context.Context) (int, error) { return 0, errors.New(said) })
		for _, err := range []error{parseErr, listErr, boundedErr} {
			if err == nil {
				continue
			}
			require.Less(t, len(err.Error()), 4<<10)
			for _, r := range err.Error() {
				require.True(t, unicode.IsPrint(r), "%q", r)
			}
		}
	})
}
