package verify

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"

	"disk-mapper/attestation"
	"disk-mapper/internal/printable"

	"github.com/google/go-tpm-tools/proto/tpm"
	"github.com/google/go-tpm-tools/quote"
	"github.com/google/go-tpm/legacy/tpm2"
)

// rsassaSHA256 is how a TPMT_SIGNATURE of RSASSA with SHA-256 begins.
var rsassaSHA256 = []byte{0x00, 0x14, 0x00, 0x0b}

// quotedPCRs returns the SHA-256 PCRs, all 24, once key has been found to vouch
// for them.
func (v validator) quotedPCRs(d attestation.Document, key *rsa.PublicKey, nonce []byte) (map[int][]byte, error) {
	q, err := sha256Quote(d.Attestation.Quotes)
	if err != nil {
		return nil, err
	}
	qualifying, err := v.binding.QualifyingData(d.UserData, nonce, d.InstanceInfo)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBinding, err)
	}
	if !bytes.HasPrefix(q.RawSig, rsassaSHA256) {
		return nil, fmt.Errorf("%w: signature is not RSASSA with SHA-256", ErrQuote)
	}
	// The quote's own qualifying data is taken first to tell a stale quote
	// from a forged one; ours is compared after the signature has been checked.
	signed, err := tpm2.DecodeAttestationData(q.Quote)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrQuote, printable.Error(err))
	}
	if err := quote.Verify(library(q), key, signed.ExtraData); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrQuote, printable.Error(err))
	}
	if !bytes.Equal(signed.ExtraData, qualifying) {
		return nil, fmt.Errorf("%w: quote is over %.64x, want %x", ErrBinding, []byte(signed.ExtraData), qualifying)
	}
	return q.PCRs.PCRs, nil
}

// sha256Quote finds the only quote that counts. The parser has seen to it that
// no bank is quoted twice.
func sha256Quote(quotes []attestation.Quote) (attestation.Quote, error) {
	var banks []uint16
	for _, q := range quotes {
		if q.PCRs.Hash != attestation.SHA256 {
			banks = append(banks, q.PCRs.Hash)
			continue
		}
		return q, checkBank(q.PCRs.PCRs)
	}
	return attestation.Quote{}, fmt.Errorf("%w: no quote of the SHA-256 bank, only of the TPM algorithms %s", ErrQuote, printable.Text(fmt.Sprint(banks)))
}

func checkBank(pcrs map[int][]byte) error {
	for index := range attestation.PCRs {
		if len(pcrs[index]) != sha256.Size {
			return fmt.Errorf("%w: PCR %d has %d bytes, want %d", ErrQuote, index, len(pcrs[index]), sha256.Size)
		}
	}
	return nil
}

func library(q attestation.Quote) *tpm.Quote {
	values := make(map[uint32][]byte, len(q.PCRs.PCRs))
	for index, value := range q.PCRs.PCRs {
		values[uint32(index)] = value
	}
	return &tpm.Quote{
		Quote:  q.Quote,
		RawSig: q.RawSig,
		Pcrs:   &tpm.PCRs{Hash: tpm.HashAlgo(q.PCRs.Hash), Pcrs: values},
	}
}
