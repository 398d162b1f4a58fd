package verify

import (
	"encoding/json"
	"fmt"

	"disk-mapper/attestation"
)

// ParseDocument reads the JSON form of a document strictly. It fails with
// ErrDocument. The members that no decision here depends on (certificates of
// the key, canonical event log, TEE attestation) may be there and are dropped.
func ParseDocument(raw []byte) (attestation.Document, error) {
	var d attestation.Document
	if len(raw) > attestation.MaxDocument {
		return d, fmt.Errorf("%w: %d bytes, want at most %d", ErrDocument, len(raw), attestation.MaxDocument)
	}
	err := decodeObject(raw, members{
		"Attestation":       func(raw json.RawMessage) error { return parseEvidence(raw, &d.Attestation) },
		"InstanceInfo":      optional(base64Bytes(&d.InstanceInfo)),
		"UserData":          base64Bytes(&d.UserData),
		"UserDataSignature": base64Bytes(&d.UserDataSignature),
	}, "Attestation", "UserData")
	if err != nil {
		return attestation.Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return d, nil
}

func parseEvidence(raw json.RawMessage, e *attestation.Evidence) error {
	return decodeObject(raw, members{
		"ak_pub":              base64Bytes(&e.AKPub),
		"event_log":           base64Bytes(&e.EventLog),
		"quotes":              func(raw json.RawMessage) error { return parseQuotes(raw, &e.Quotes) },
		"canonical_event_log": ignore,
		"ak_cert":             ignore,
		"intermediate_certs":  ignore,
		"TeeAttestation":      ignore,
	}, "ak_pub", "quotes")
}

func parseQuotes(raw json.RawMessage, quotes *[]attestation.Quote) error {
	banks := map[uint16]bool{}
	return eachElement(raw, func(raw json.RawMessage) error {
		var q attestation.Quote
		err := decodeObject(raw, members{
			"quote":   base64Bytes(&q.Quote),
			"raw_sig": base64Bytes(&q.RawSig),
			"pcrs":    func(raw json.RawMessage) error { return parseBank(raw, &q.PCRs) },
		}, "quote", "raw_sig", "pcrs")
		if err != nil {
			return err
		}
		if banks[q.PCRs.Hash] {
			return fmt.Errorf("second quote of bank %d", q.PCRs.Hash)
		}
		banks[q.PCRs.Hash] = true
		*quotes = append(*quotes, q)
		return nil
	})
}

func parseBank(raw json.RawMessage, bank *attestation.Bank) error {
	bank.PCRs = map[int][]byte{}
	return decodeObject(raw, members{
		"hash": into(&bank.Hash),
		"pcrs": func(raw json.RawMessage) error { return parsePCRs(raw, bank.PCRs) },
	}, "hash", "pcrs")
}

func parsePCRs(raw json.RawMessage, pcrs map[int][]byte) error {
	return eachMember(raw, func(name string, value json.RawMessage) error {
		index, err := pcrIndex(name)
		if err != nil {
			return err
		}
		var digest []byte
		if err := base64Bytes(&digest)(value); err != nil {
			return err
		}
		pcrs[index] = digest
		return nil
	})
}

// optional lets null pass.
func optional(decode func(json.RawMessage) error) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		if isNull(raw) {
			return nil
		}
		return decode(raw)
	}
}
