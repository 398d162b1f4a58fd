package azure

import (
	"os"
	"strings"
	"testing"

	"disk-mapper/internal/cloud"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseMachine(t *testing.T) {
	const id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/set/virtualMachines/0"
	compute := func(id, rest string) string { return `{"compute": {"resourceId": "` + id + `"` + rest + `}}` }
	for name, tc := range map[string]struct {
		raw     string
		want    machine
		wantErr string
	}{
		"computer name": {raw: compute(id, `, "name": "set_0", "osProfile": {"computerName": "set000000"}`), want: machine{name: "set000000"}},
		"no profile":    {raw: compute(id, `, "name": "set_0"`), want: machine{name: "set_0"}},
		"tags are null": {raw: compute(id, `, "tagsList": null`)},
		"a tag without a value": {
			raw:  compute(id, `, "tagsList": [{"name": "constellation-role"}, {}]`),
			want: machine{tags: map[string]string{"constellation-role": "", "": ""}},
		},
		"interfaces without addresses": {
			raw:  strings.TrimSuffix(compute(id, ""), "}") + `, "network": {"interface": [{}, {"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}]}}]}}`,
			want: machine{address: "10.0.0.4"},
		},
		"no resource ID":   {raw: `{}`, wantErr: "id cannot be empty"},
		"null":             {raw: `null`, wantErr: "id cannot be empty"},
		"relative ID":      {raw: compute("subscriptions/s", ""), wantErr: "must start with '/'"},
		"machine alone":    {raw: compute("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/x", ""), wantErr: "want that of a machine in a scale set"},
		"resource group":   {raw: compute("/subscriptions/s/resourceGroups/g", ""), wantErr: "want that of a machine in a scale set"},
		"no subscription":  {raw: compute("/providers/Microsoft.Compute/virtualMachineScaleSets/set/virtualMachines/0", ""), wantErr: "want that of a machine in a scale set"},
		"tags as a string": {raw: compute(id, `, "tagsList": "a:b"`), wantErr: "cannot unmarshal"},
		"other type":       {raw: `[]`, wantErr: "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseMachine([]byte(tc.raw))
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, id, got.id.String())
			assert.Equal(t, "set", got.scaleSet())
			assert.Equal(t, tc.want.name, got.name)
			assert.Equal(t, tc.want.address, got.address)
			assert.Equal(t, len(tc.want.tags), len(got.tags))
		})
	}
}

func TestRoleByName(t *testing.T) {
	for name, want := range map[string]cloud.Role{
		"constellation-scale-set-controlplanes-abc123":   cloud.ControlPlane,
		"x-constellation-scale-set-controlplanes-abc123": cloud.ControlPlane,
		"constellation-scale-set-workers-abc123":         cloud.Worker,
		"constellation-scale-set-controlplanes-abc123\n": cloud.Unknown,
		"constellation-scale-set-controlplanes-":         cloud.Unknown,
		"constellation-scale-set-controlplanes-abc-123":  cloud.Unknown,
		"Constellation-scale-set-workers-abc123":         cloud.Unknown,
		"":                                               cloud.Unknown,
	} {
		assert.Equal(t, want, roleByName(name, nil), "%q", name)
	}
}

// FuzzParseMachine: what is accepted names a machine in a scale set.
func FuzzParseMachine(f *testing.F) {
	recorded, err := os.ReadFile("testdata/instance.json")
	require.NoError(f, err)
	for _, seed := range []string{string(recorded), `{}`, `null`, `{"compute": {"resourceId": "/subscriptions/s"}}`, `{"compute": {"resourceId": "//"}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseMachine(raw)
		if err != nil {
			return
		}
		assert.NotEmpty(t, m.id.SubscriptionID)
		assert.NotEmpty(t, m.id.ResourceGroupName)
		assert.NotEmpty(t, m.scaleSet())
		assert.True(t, strings.HasPrefix(providerID(m.id.String()), "azure:///"))
	})
}
