package cloud

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRoleJSON(t *testing.T) {
	tests := map[string]Role{
		`"ControlPlane"`:  ControlPlane,
		`"controlplane"`:  ControlPlane,
		`"control-plane"`: ControlPlane,
		`"Worker"`:        Worker,
		`"worker"`:        Worker,
		`"Admin"`:         Unknown,
		`"Unknown"`:       Unknown,
		`""`:              Unknown,
		`null`:            Unknown,
	}
	for in, want := range tests {
		t.Run(in, func(t *testing.T) {
			var got Role
			require.NoError(t, json.Unmarshal([]byte(in), &got))
			assert.Equal(t, want, got)
		})
	}
	var r Role
	require.Error(t, json.Unmarshal([]byte(`1`), &r))
	raw, err := json.Marshal(Instance{Role: ControlPlane})
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"Role":"ControlPlane"`)
}
