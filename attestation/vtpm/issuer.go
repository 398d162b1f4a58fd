package vtpm

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"io"

	"disk-mapper/attestation"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm-tools/proto/tpm"
	"github.com/google/go-tpm/legacy/tpm2"
)

// Machine is what sets the documents of one variant apart.
type Machine struct {
	Variant attestation.Variant
	// Key opens the attestation key, an RSA key.
	Key func(io.ReadWriter) (*client.Key, error)
	// Info makes the instance info, about the public attestation key and fresh
	// for extraData; nil for none. It may call the methods of the TPM.
	Info func(ctx context.Context, ak crypto.PublicKey, extraData []byte) ([]byte, error)
}

// plain is a machine with nothing but a vTPM.
var plain = Machine{Variant: attestation.QEMUVTPM, Key: AttestationKey}

// Issuer issues qemu-vtpm documents.
func (t *TPM) Issuer(binding attestation.Binding) attestation.Issuer {
	return t.IssuerOf(plain, binding)
}

// IssuerOf issues documents of machine. The key is opened once per TPM.
func (t *TPM) IssuerOf(machine Machine, binding attestation.Binding) attestation.Issuer {
	return issuer{tpm: t, machine: machine, binding: binding}
}

type issuer struct {
	tpm     *TPM
	machine Machine
	binding attestation.Binding
}

func (i issuer) Variant() attestation.Variant { return i.machine.Variant }

// Issue fails as Separate does before anything is signed, and if the firmware's
// event log cannot be read: a document without it is a sign of a machine that is
// not what it seems.
func (i issuer) Issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	// Clones, because an abandoned command outlives this call.
	raw, err := i.issue(ctx, bytes.Clone(userData), bytes.Clone(nonce))
	if err != nil {
		return nil, fmt.Errorf("issuing a vTPM document: %w", err)
	}
	return raw, nil
}

func (i issuer) issue(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	info, err := i.instanceInfo(ctx, userData, nonce)
	if err != nil {
		return nil, err
	}
	qualifying, err := i.binding.QualifyingData(userData, nonce, info)
	if err != nil {
		return nil, err
	}
	document, err := exclusively(ctx, i.tpm, func() (attestation.Document, error) {
		return i.attest(qualifying, userData)
	})
	if err != nil {
		return nil, err
	}
	document.InstanceInfo, document.UserData = info, userData
	if i.binding == attestation.BindHashChain {
		document.Attestation.TeeAttestation = json.RawMessage("null")
	}
	return json.Marshal(document)
}

// instanceInfo leaves the TPM to others while it is made: that may take a
// network.
func (i issuer) instanceInfo(ctx context.Context, userData, nonce []byte) ([]byte, error) {
	if i.machine.Info == nil {
		return nil, nil
	}
	extraData, err := attestation.ExtraData(userData, nonce)
	if err != nil {
		return nil, err
	}
	ak, err := exclusively(ctx, i.tpm, func() (*client.Key, error) { return i.tpm.attestationKey(i.machine) })
	if err != nil {
		return nil, err
	}
	info, err := i.machine.Info(ctx, ak.PublicKey(), extraData)
	if err != nil {
		return nil, fmt.Errorf("instance info: %w", err)
	}
	return info, nil
}

// attest is the TPM's part of a document.
func (i issuer) attest(qualifying, userData []byte) (attestation.Document, error) {
	if err := i.tpm.separate(i.binding); err != nil {
		return attestation.Document{}, err
	}
	ak, err := i.tpm.attestationKey(i.machine)
	if err != nil {
		return attestation.Document{}, err
	}
	document, err := i.tpm.quote(ak, qualifying)
	if err == nil && i.binding == attestation.BindSigned {
		document.UserDataSignature, err = ak.SignData(userData)
	}
	if err != nil {
		i.tpm.closeKeys() // somebody may have taken the handle away
	}
	return document, err
}

func (t *TPM) attestationKey(machine Machine) (*client.Key, error) {
	if ak := t.aks[machine.Variant]; ak != nil {
		return ak, nil
	}
	ak, err := machine.Key(t.device)
	if err != nil {
		return nil, fmt.Errorf("opening the attestation key: %w", err)
	}
	t.aks[machine.Variant] = ak
	return ak, nil
}

// closeKeys takes those out of the TPM that are not persistent.
func (t *TPM) closeKeys() {
	for variant, ak := range t.aks {
		delete(t.aks, variant)
		if byte(ak.Handle()>>24) == byte(tpm2.HandleTypeTransient) {
			ak.Close()
		}
	}
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
