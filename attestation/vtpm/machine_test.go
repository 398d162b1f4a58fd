package vtpm

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"disk-mapper/attestation"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm-tools/simulator"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMachine: the instance info is made with the TPM free, about the key that
// quotes, and the quote covers it.
func TestMachine(t *testing.T) {
	tpm := simulated(t)
	var about crypto.PublicKey
	machine := Machine{Variant: "test", Key: client.AttestationKeyRSA, Info: func(ctx context.Context, ak crypto.PublicKey, extraData []byte) ([]byte, error) {
		about = ak
		_, err := tpm.ReadPCR(ctx, 15)
		return append([]byte("info "), extraData...), err
	}}
	issuer := tpm.IssuerOf(machine, attestation.BindHashChain)
	assert.Equal(t, attestation.Variant("test"), issuer.Variant())
	raw, err := issuer.Issue(t.Context(), userData, nonce)
	require.NoError(t, err)
	var d attestation.Document
	require.NoError(t, json.Unmarshal(raw, &d))
	extraData, err := attestation.ExtraData(userData, nonce)
	require.NoError(t, err)
	assert.Equal(t, append([]byte("info "), extraData...), d.InstanceInfo)
	area, err := tpm2.DecodePublic(d.Attestation.AKPub)
	require.NoError(t, err)
	key, err := area.Key()
	require.NoError(t, err)
	assert.Equal(t, key, about)
	want, err := attestation.BindHashChain.QualifyingData(userData, nonce, d.InstanceInfo)
	require.NoError(t, err)
	quote, err := tpm2.DecodeAttestationData(d.Attestation.Quotes[0].Quote)
	require.NoError(t, err)
	assert.Equal(t, want, []byte(quote.ExtraData))

	failed := errors.New("no metadata service")
	machine.Info = func(context.Context, crypto.PublicKey, []byte) ([]byte, error) { return nil, failed }
	_, err = tpm.IssuerOf(machine, attestation.BindHashChain).Issue(t.Context(), userData, nonce)
	require.ErrorIs(t, err, failed)
	assert.ErrorContains(t, err, "instance info: no metadata service")
}

// TestKeyThatIsNotPersistent is taken out of the TPM with Close, and opened again
// after a failure.
func TestKeyThatIsNotPersistent(t *testing.T) {
	sim, err := simulator.Get()
	require.NoError(t, err)
	tpm := New(keepOpen{sim}, logOf(someLog))
	made := 0
	issuer := tpm.IssuerOf(Machine{Variant: "test", Key: func(rw io.ReadWriter) (*client.Key, error) {
		made++
		return client.NewKey(rw, tpm2.HandleEndorsement, client.AKTemplateRSA())
	}}, attestation.BindHashChain)
	for range 2 {
		_, err = issuer.Issue(t.Context(), userData, nonce)
		require.NoError(t, err)
	}
	assert.Equal(t, 1, made)
	require.NoError(t, tpm2.FlushContext(sim, 0x80000000))
	_, err = issuer.Issue(t.Context(), userData, nonce)
	require.Error(t, err)
	_, err = issuer.Issue(t.Context(), userData, nonce)
	require.NoError(t, err)
	assert.Equal(t, 2, made)
	require.NoError(t, tpm.Close())
	client.CheckedClose(t, sim)
}

// keepOpen is a TPM that outlives its user.
type keepOpen struct{ io.ReadWriteCloser }

func (keepOpen) Close() error { return nil }

func TestReadNV(t *testing.T) {
	tpm := simulated(t)
	_, err := tpm.ReadNV(t.Context(), 0x01400001)
	require.ErrorContains(t, err, "reading NV index 0x1400001: ")
	value := bytes.Repeat([]byte{7}, 1500) // more than one read
	attributes := tpm2.AttrOwnerWrite | tpm2.AttrOwnerRead
	require.NoError(t, tpm2.NVDefineSpace(tpm.device, tpm2.HandleOwner, 0x01400001, "", "", nil, attributes, uint16(len(value))))
	for at := 0; at < len(value); at += 500 {
		require.NoError(t, tpm2.NVWrite(tpm.device, tpm2.HandleOwner, 0x01400001, "", value[at:at+500], uint16(at)))
	}
	read, err := tpm.ReadNV(t.Context(), 0x01400001)
	require.NoError(t, err)
	assert.Equal(t, value, read)
}
