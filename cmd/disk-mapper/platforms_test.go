package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/disk"
	"disk-mapper/internal/cloud"
	"disk-mapper/setup"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestEveryPlatformHasADiskForEachProfile, and a variant that exists in it. There
// was none for AWS in release 2.1.
func TestEveryPlatformHasADiskForEachProfile(t *testing.T) {
	for _, p := range platforms {
		for _, profile := range []attestation.Profile{attestation.Profile224, attestation.Profile21} {
			assert.NotEmpty(t, p.stateDisk[profile.Name], "%s %s", p.name, profile.Name)
			if p.name != "aws" || profile.Name != attestation.Profile21.Name {
				assert.True(t, p.defaultVariant(profile).Has(profile.Binding), "%s %s", p.name, profile.Name)
			}
		}
	}
}

func TestEveryProfileHasARelease(t *testing.T) {
	assert.Equal(t, map[string]cloud.Release{"2.24": cloud.Release224, "2.1": cloud.Release21}, releases)
}

func TestFindPlatform(t *testing.T) {
	for name, want := range map[string]string{"QEMU": "qemu", "openstack": "openstack", "stackit": "openstack", "StackIT": "openstack"} {
		got, err := findPlatform(name)
		require.NoError(t, err)
		assert.Equal(t, want, got.name)
	}
	for _, name := range []string{"", "stack", "openstack "} {
		_, err := findPlatform(name)
		require.ErrorContains(t, err, "unknown cloud platform")
	}
}

func TestPlatformThatIsLeftOut(t *testing.T) {
	all := platforms
	t.Cleanup(func() { platforms = all })
	platforms = append(slices.Clone(all), platform{name: "elsewhere"})
	_, err := findPlatform("Elsewhere")
	require.ErrorContains(t, err, `cloud platform "elsewhere" was left out of this build, which has: qemu`)
	assert.NotContains(t, platformNames(), "elsewhere")
}

// TestFirstBootAsksNobody: a new disk needs no metadata, so a node without
// network formats its disk. The boot ends where it would hand the key over.
func TestFirstBootAsksNobody(t *testing.T) {
	blank := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(blank, nil, 0o600))
	require.NoError(t, os.Truncate(blank, 64<<20))
	o := options{profile: attestation.Profile224, platform: platform{
		stateDisk: map[string]string{attestation.Profile224.Name: blank},
		metadata: func(cloud.Release) cloud.Metadata {
			t.Error("a client of the platform was made")
			return nil
		},
	}}
	err := boot(t.Context(), o, setup.Handover{Root: blank}, func(string) {}, zap.NewNop())
	require.ErrorContains(t, err, "not a directory")
}

// TestStateDiskBehindALink: what is handed to systemd is the device.
func TestStateDiskBehindALink(t *testing.T) {
	dir := t.TempDir()
	device, link := filepath.Join(dir, "sdc"), filepath.Join(dir, "lun0")
	require.NoError(t, os.WriteFile(device, nil, 0o600))
	require.NoError(t, os.Truncate(device, 64<<20))
	require.NoError(t, os.Symlink("sdc", link))
	path, err := thisMachine.await(t.Context(), link, nil)
	require.NoError(t, err)
	d, err := openUnusedDisk(t.Context(), path, disk.Open)
	require.NoError(t, err)
	assert.Equal(t, device, d.Path())
}
