package vtpm

import (
	"encoding/hex"
	"testing"

	"disk-mapper/attestation"

	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// separated is what PCR 15 of a machine of profile 2.1 holds: documented, so that
// policies of that profile can name it.
const separated = "45162fc3c753de5ea89a60832a8ba2457feed84c5bc1ba053640e93028bcf966"

func TestSeparate(t *testing.T) {
	for name, tt := range map[string]struct {
		binding attestation.Binding
		before  func(*testing.T, *TPM)
		do      func(*testing.T, *TPM) error
		want    string
	}{
		"the daemon, at its start":  {attestation.BindSigned, nothing, separate(attestation.BindSigned), separated},
		"an issuer, by itself":      {attestation.BindSigned, nothing, issue(attestation.BindSigned), separated},
		"again in the same boot":    {attestation.BindSigned, func(t *testing.T, tpm *TPM) { require.NoError(t, separate(attestation.BindSigned)(t, tpm)) }, separate(attestation.BindSigned), separated},
		"somebody measured already": {attestation.BindSigned, func(t *testing.T, tpm *TPM) { require.NoError(t, tpm.Extend(t.Context(), 15, clusterID)) }, issue(attestation.BindSigned), knownValue[tpm2.AlgSHA256]},
		"a hash nobody can choose":  {attestation.BindHashChain, nothing, issue(attestation.BindHashChain), hex.EncodeToString(make([]byte, 32))},
	} {
		t.Run(name, func(t *testing.T) {
			tpm := simulated(t)
			tt.before(t, tpm)
			tpm = New(tpm.device.raw, tpm.eventLog) // another process
			require.NoError(t, tt.do(t, tpm))
			require.NoError(t, tt.do(t, tpm))
			for _, pcr := range []int{12, 15} {
				value, err := tpm.ReadPCR(t.Context(), pcr)
				require.NoError(t, err)
				if pcr == 15 {
					assert.Equal(t, tt.want, hex.EncodeToString(value))
				} else {
					assert.Equal(t, make([]byte, 32), value, "the PCR of the cluster ID itself")
				}
			}
		})
	}
}

func nothing(*testing.T, *TPM) {}

func separate(b attestation.Binding) func(*testing.T, *TPM) error {
	return func(t *testing.T, tpm *TPM) error { return tpm.Separate(t.Context(), b) }
}

func issue(b attestation.Binding) func(*testing.T, *TPM) error {
	return func(t *testing.T, tpm *TPM) error {
		_, err := tpm.Issuer(b).Issue(t.Context(), userData, nonce)
		return err
	}
}

// TestNothingIsSignedUnlessSeparated: neither quote nor user data.
func TestNothingIsSignedUnlessSeparated(t *testing.T) {
	swallowed := []byte{0x80, 0x02, 0, 0, 0, 10, 0, 0, 0, 0}
	for name, tt := range map[string]struct {
		tpm  func(*testing.T) *TPM
		want error
	}{
		"no SHA-256 bank": {func(t *testing.T) *TPM { return onSWTPM(t, "sha1") }, ErrNoSHA256Bank},
		"extension swallowed": {func(t *testing.T) *TPM {
			tpm := simulated(t)
			tpm.device.raw = &scripted{ReadWriteCloser: tpm.device.raw, command: tpm2.CmdPCREvent, responses: [][]byte{swallowed}}
			return tpm
		}, ErrReadBack},
	} {
		t.Run(name, func(t *testing.T) {
			tpm := tt.tpm(t)
			quotes := &counting{ReadWriteCloser: tpm.device.raw, of: tpm2.CmdQuote}
			tpm.device.raw = quotes
			require.ErrorIs(t, issue(attestation.BindSigned)(t, tpm), tt.want)
			assert.Zero(t, quotes.n)
		})
	}
}
