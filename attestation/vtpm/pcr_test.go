package vtpm

import (
	"context"
	"encoding/hex"
	"testing"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The known vector of the published clusters: what PCR_Event makes of zero in
// each bank for this cluster ID.
var (
	clusterID  = unhex("e7fd5a0e36fb56d69807aa36e68aee24438c1bf8766780b6106150f35b7aacba")
	knownValue = map[tpm2.Algorithm]string{
		tpm2.AlgSHA1:   "acedccb6160a3dd19d2e37d09f6d24e56c14b274",
		tpm2.AlgSHA256: "f75516d57d358d6acd9c5e6e5c74b910ca7da9ddbc7935d0707c9b71656b968d",
		tpm2.AlgSHA384: "8d6696a13435bc1d6a0ab7dc7f4f564c73e0f4a6b4a40a360ad1d2072555c03b3ce2fd4dce921dbfc6282006c55d644f",
		tpm2.AlgSHA512: "554ad50a570f2f67f3dea2c00eb101946e49573eb281020b9492e8616287689d1653d0be06e8dba23ff4056dd6fec87f40fdfec49d4e8b8b7b6dd95632598016",
	}
)

func unhex(s string) []byte {
	raw, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return raw
}

func TestExtend(t *testing.T) {
	tpms := map[string]func(testing.TB) *TPM{"simulator": simulated}
	for name, banks := range banks {
		tpms[name] = func(t testing.TB) *TPM { return onSWTPM(t, banks) }
	}
	for name, start := range tpms {
		t.Run(name, func(t *testing.T) {
			tpm := start(t)
			for _, pcr := range []int{12, 15} {
				require.NoError(t, tpm.Extend(t.Context(), pcr, clusterID))
				value, err := tpm.ReadPCR(t.Context(), pcr)
				require.NoError(t, err)
				assert.Equal(t, knownValue[tpm2.AlgSHA256], hex.EncodeToString(value))
				for _, bank := range allBanks(t, tpm) {
					assert.Equal(t, knownValue[bank], hex.EncodeToString(readBank(t, tpm, bank, pcr)), "%v", bank)
				}
			}
			assert.ErrorIs(t, tpm.Extend(t.Context(), 15, clusterID), ErrPCRNotZero)
			assert.Equal(t, knownValue[tpm2.AlgSHA256], hex.EncodeToString(readBank(t, tpm, tpm2.AlgSHA256, 15)), "refused, but extended")
		})
	}
}

func TestExtendRefusesSHA1Only(t *testing.T) {
	tpm := onSWTPM(t, "sha1")
	assert.ErrorIs(t, tpm.Extend(t.Context(), 15, clusterID), ErrNoSHA256Bank)
	assert.Equal(t, make([]byte, 20), readBank(t, tpm, tpm2.AlgSHA1, 15), "refused, but extended")
	_, err := tpm.ReadPCR(t.Context(), 15)
	assert.ErrorIs(t, err, ErrNoSHA256Bank)
}

func TestExtendRefusesOtherLengths(t *testing.T) {
	tpm := simulated(t)
	for _, length := range []int{0, 31, 33} {
		assert.ErrorContains(t, tpm.Extend(t.Context(), 15, make([]byte, length)), "want 32")
	}
	assert.Equal(t, make([]byte, 32), readBank(t, tpm, tpm2.AlgSHA256, 15), "refused, but extended")
}

func TestExtendNoticesAnotherExtension(t *testing.T) {
	tpm := simulated(t)
	tpm.device.raw = &meddler{ReadWriteCloser: tpm.device.raw, before: tpm2.CmdPCREvent, meddle: func() {
		require.NoError(t, tpm2.PCREvent(tpm.device.raw.(*meddler).ReadWriteCloser, 15, []byte("somebody else's")))
	}}
	assert.ErrorIs(t, tpm.Extend(t.Context(), 15, clusterID), ErrReadBack)
}

func TestExtendNoticesASwallowedExtension(t *testing.T) {
	tpm := simulated(t)
	swallowed := []byte{0x80, 0x02, 0, 0, 0, 10, 0, 0, 0, 0}
	tpm.device.raw = &scripted{ReadWriteCloser: tpm.device.raw, command: tpm2.CmdPCREvent, responses: [][]byte{swallowed}}
	assert.ErrorIs(t, tpm.Extend(t.Context(), 15, clusterID), ErrReadBack)
}

func TestExtendHonoursACancelledContext(t *testing.T) {
	tpm := simulated(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, tpm.Extend(ctx, 15, clusterID), context.Canceled)
	assert.Equal(t, make([]byte, 32), readBank(t, tpm, tpm2.AlgSHA256, 15))
}

func allBanks(t testing.TB, tpm *TPM) (found []tpm2.Algorithm) {
	t.Helper()
	selections, err := client.AllocatedPCRs(tpm.device)
	require.NoError(t, err)
	for _, s := range selections {
		found = append(found, s.Hash)
	}
	return found
}

func readBank(t testing.TB, tpm *TPM, bank tpm2.Algorithm, pcr int) []byte {
	t.Helper()
	values, err := tpm2.ReadPCRs(tpm.device, tpm2.PCRSelection{Hash: bank, PCRs: []int{pcr}})
	require.NoError(t, err)
	return values[pcr]
}
