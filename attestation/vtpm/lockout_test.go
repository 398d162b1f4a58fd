package vtpm

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"disk-mapper/attestation"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cutPower ends a TPM without a shutdown, over and over, each time after use.
func cutPower(t *testing.T, times int, use func(*TPM)) *TPM {
	t.Helper()
	state := swtpmState(t, "sha256")
	for range times {
		tpm, cut := powerOn(t, state)
		use(tpm)
		cut()
	}
	tpm, cut := powerOn(t, state)
	t.Cleanup(cut)
	return tpm
}

// powerOn runs a TPM over state until cut kills it.
func powerOn(t *testing.T, state string) (tpm *TPM, cut func()) {
	t.Helper()
	ours, theirs := socketPair(t)
	process := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--fd", "3", "--flags", "not-need-init,startup-clear")
	process.ExtraFiles = []*os.File{theirs}
	require.NoError(t, process.Start())
	require.NoError(t, theirs.Close())
	tpm = New(ours, logOf(someLog))
	return tpm, func() {
		require.NoError(t, process.Process.Kill())
		_ = process.Wait()
		require.NoError(t, ours.Close())
	}
}

func issueOnce(t *testing.T, tpm *TPM) (d attestation.Document, err error) {
	t.Helper()
	raw, err := tpm.Issuer(attestation.BindHashChain).Issue(t.Context(), userData, nonce)
	if err == nil {
		require.NoError(t, json.Unmarshal(raw, &d))
	}
	return d, err
}

func TestPowerCutsDoNotLock(t *testing.T) {
	tpm := cutPower(t, 5, func(tpm *TPM) {
		_, err := issueOnce(t, tpm)
		require.NoError(t, err)
	})
	counted, err := tpm.property(tpm2.LockoutCounter)
	require.NoError(t, err)
	assert.Zero(t, counted, "uses of a key that is noDA")
	d, err := issueOnce(t, tpm)
	require.NoError(t, err)
	area, err := tpm2.DecodePublic(d.Attestation.AKPub)
	require.NoError(t, err)
	assert.NotZero(t, area.Attributes&tpm2.FlagNoDA)
}

// TestForgetFailures: a TPM that others have locked, with keys that are counted,
// is free again; with a lockout authorisation it says for how long it is not.
func TestForgetFailures(t *testing.T) {
	counted := func(tpm *TPM) {
		_, err := tpm.IssuerOf(Machine{Variant: "test", Key: client.AttestationKeyRSA}, attestation.BindHashChain).Issue(t.Context(), userData, nonce)
		require.NoError(t, err)
	}
	old := func(tpm *TPM) error {
		_, err := tpm.IssuerOf(Machine{Variant: "test", Key: client.AttestationKeyRSA}, attestation.BindHashChain).Issue(t.Context(), userData, nonce)
		return err
	}
	tpm := cutPower(t, 3, counted)
	err := old(tpm)
	require.ErrorIs(t, err, ErrLockout)
	assert.ErrorContains(t, err, "TPM in DA lockout: 3 failed authorisations or power cuts, locked from 3 on; unlocks within ")
	_, err = issueOnce(t, tpm)
	require.NoError(t, err, "a key that is noDA can be used all the same")
	require.NoError(t, tpm.ForgetFailures(t.Context()))
	require.NoError(t, old(tpm))
}

func TestForgetFailuresLeavesALockoutAuthorisationAlone(t *testing.T) {
	tpm := simulated(t)
	raw := &counting{ReadWriteCloser: tpm.device.raw, of: tpm2.CmdDictionaryAttackLockReset}
	tpm.device.raw = raw
	require.NoError(t, tpm2.HierarchyChangeAuth(tpm.device, tpm2.HandleLockout, tpm2.AuthCommand{Session: tpm2.HandlePasswordSession}, "owner's"))
	require.ErrorContains(t, tpm.ForgetFailures(t.Context()), "somebody has set a lockout authorisation")
	assert.Zero(t, raw.n, "a wrong try locks the lockout authorisation itself")
}

func TestHowLong(t *testing.T) {
	for name, tt := range map[string]struct {
		failures, allowed uint32
		interval          time.Duration
		want              string
	}{
		"just locked":     {3, 3, 1000 * time.Second, "3 failed authorisations or power cuts, locked from 3 on; unlocks within 16m40s if it stays powered on"},
		"locked for long": {40, 31, 2 * time.Hour, "40 failed authorisations or power cuts, locked from 31 on; unlocks within 20h0m0s if it stays powered on"},
		"for good":        {1, 1, 0, "1 failed authorisations or power cuts, locked from 1 on, until somebody resets it"},
		"a lying TPM":     {0, 1 << 31, time.Second, "0 failed authorisations or power cuts, locked from 2147483648 on; unlocks within 1s if it stays powered on"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, howLong(tt.failures, tt.allowed, tt.interval)) })
	}
}
