package attestation_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"disk-mapper/attestation"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQualifyingDataVectors(t *testing.T) {
	userData := sha256.Sum256([]byte("example-spki"))
	require.Equal(t, "a4c2803c081c975c1d50f7b26d48becbaaf25fe9aa171528a6077f201c88e164", hex.EncodeToString(userData[:]))
	nonce := make([]byte, attestation.NonceSize)
	for i := range nonce {
		nonce[i] = 0x60 + byte(i)
	}
	cases := map[string]struct {
		binding      attestation.Binding
		instanceInfo string
		want         string
	}{
		"hash chain, as on QEMU":         {attestation.BindHashChain, "", "5f50c1e8d382ca777c9238609225af62e8e6f9de0828d450cd276eb0bf691b69"},
		"hash chain, with instance info": {attestation.BindHashChain, `{"zone":"z"}`, "34dc467ebc9672699c4462313abf61244d5cef33e87101e0896abd084d231f2b"},
		"signed":                         {attestation.BindSigned, "", "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := c.binding.QualifyingData(userData[:], nonce, []byte(c.instanceInfo))
			require.NoError(t, err)
			assert.Equal(t, c.want, hex.EncodeToString(got))
		})
	}
}

func TestQualifyingDataRefuses(t *testing.T) {
	full := bytes.Repeat([]byte{1}, 32)
	cases := map[string]struct {
		binding         attestation.Binding
		userData, nonce []byte
		want            string
	}{
		"no binding":         {0, full, full, "unknown binding 0"},
		"short user data":    {attestation.BindHashChain, full[1:], full, "user data of 31"},
		"long nonce":         {attestation.BindHashChain, full, append(full[:32:32], 1), "nonce of 33"},
		"no nonce":           {attestation.BindSigned, full, nil, "nonce of 0"},
		"same total, uneven": {attestation.BindHashChain, full[1:], append(full[:32:32], 1), "user data of 31 and nonce of 33"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := c.binding.QualifyingData(c.userData, c.nonce, nil)
			assert.ErrorContains(t, err, c.want)
		})
	}
}
