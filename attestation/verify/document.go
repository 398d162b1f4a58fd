package verify

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"disk-mapper/attestation"
	"disk-mapper/internal/exactjson"
)

// received is a document with all members that genuine issuers may send.
type received struct {
	attestation.Document
	Attestation struct {
		attestation.Evidence
		CanonicalEventLog json.RawMessage `json:"canonical_event_log,omitempty"`
		AKCert            json.RawMessage `json:"ak_cert,omitempty"`
		IntermediateCerts json.RawMessage `json:"intermediate_certs,omitempty"`
	}
}

// ParseDocument reads the JSON form of a document strictly. It fails with
// ErrDocument. The members that no decision here depends on (certificates of
// the key, canonical event log, TEE attestation) may be there and are dropped.
func ParseDocument(raw []byte) (attestation.Document, error) {
	if len(raw) > attestation.MaxDocument {
		return attestation.Document{}, fmt.Errorf("%w: %d bytes, want at most %d", ErrDocument, len(raw), attestation.MaxDocument)
	}
	var r received
	if err := exactjson.Unmarshal(raw, &r, "InstanceInfo", "TeeAttestation"); err != nil {
		return attestation.Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	d := r.Document
	d.Attestation = r.Attestation.Evidence
	d.Attestation.TeeAttestation = nil
	if err := checkBanks(d.Attestation.Quotes); err != nil {
		return attestation.Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return d, nil
}

// checkBanks sees to it that no bank is quoted twice, and only PCRs are quoted.
func checkBanks(quotes []attestation.Quote) error {
	seen := map[uint16]bool{}
	for _, q := range quotes {
		if seen[q.PCRs.Hash] {
			return fmt.Errorf("second quote of bank %d", q.PCRs.Hash)
		}
		seen[q.PCRs.Hash] = true
		for _, index := range slices.Sorted(maps.Keys(q.PCRs.PCRs)) {
			if err := checkIndex(index); err != nil {
				return err
			}
		}
	}
	return nil
}
