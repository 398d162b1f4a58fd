package vtpm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"disk-mapper/attestation"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm-tools/proto/tpm"
)

// Issuer issues qemu-vtpm documents. The attestation key is the RSA key at
// handle 0x81008F01, made there if need be, and opened once per TPM.
func (t *TPM) Issuer(binding attestation.Binding) attestation.Issuer {
	return issuer{tpm: t, binding: binding}
}

type issuer struct {
	tpm     *TPM
	binding attestation.Binding
}

func (issuer) Variant() attestation.Variant { return attestation.QEMUVTPM }

// Issue fails if the firmware's event log cannot be read: a document without
// it is a sign of a machine that is not what it seems.
func (i issuer) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	userData, nonce = bytes.Clone(userData), bytes.Clone(nonce) // an abandoned command outlives this call
	raw, err := exclusively(ctx, i.tpm, func() ([]byte, error) {
		return i.tpm.issue(i.binding, userData, nonce)
	})
	if err != nil {
		return nil, fmt.Errorf("issuing a vTPM document: %w", err)
	}
	return raw, nil
}

func (t *TPM) issue(binding attestation.Binding, userData, nonce []byte) ([]byte, error) {
	qualifying, err := binding.QualifyingData(userData, nonce, nil)
	if err != nil {
		return nil, err
	}
	ak, err := t.attestationKey()
	if err != nil {
		return nil, err
	}
	document, err := t.quote(ak, qualifying)
	if err == nil && binding == attestation.BindSigned {
		document.UserDataSignature, err = ak.SignData(userData)
	}
	if err != nil {
		t.ak = nil // somebody may have taken the handle away
		return nil, err
	}
	document.UserData = userData
	if binding == attestation.BindHashChain {
		document.Attestation.TeeAttestation = json.RawMessage("null")
	}
	return json.Marshal(document)
}

// attestationKey needs no closing: the key is persistent.
func (t *TPM) attestationKey() (*client.Key, error) {
	if t.ak != nil {
		return t.ak, nil
	}
	ak, err := client.AttestationKeyRSA(t.device)
	if err != nil {
		return nil, fmt.Errorf("opening the attestation key: %w", err)
	}
	t.ak = ak
	return ak, nil
}

func (t *TPM) quote(ak *client.Key, qualifying []byte) (attestation.Document, error) {
	log, err := t.eventLog()
	if err != nil {
		return attestation.Document{}, fmt.Errorf("reading the event log: %w", err)
	}
	if log == nil {
		log = []byte{} // nil would make the library look for the machine's own
	}
	evidence, err := ak.Attest(client.AttestOpts{Nonce: qualifying, TCGEventLog: log, SkipTeeAttestation: true})
	if err != nil {
		return attestation.Document{}, fmt.Errorf("quoting: %w", err)
	}
	var document attestation.Document
	document.Attestation.AKPub = evidence.GetAkPub()
	document.Attestation.EventLog = evidence.GetEventLog()
	for _, quote := range evidence.GetQuotes() {
		document.Attestation.Quotes = append(document.Attestation.Quotes, wireQuote(quote))
	}
	return document, nil
}

func wireQuote(q *tpm.Quote) attestation.Quote {
	values := make(map[int][]byte, attestation.PCRs)
	for index, value := range q.GetPcrs().GetPcrs() {
		values[int(index)] = value
	}
	return attestation.Quote{
		Quote:  q.GetQuote(),
		RawSig: q.GetRawSig(),
		PCRs:   attestation.Bank{Hash: uint16(q.GetPcrs().GetHash()), PCRs: values},
	}
}
