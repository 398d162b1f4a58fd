package attestation

import "encoding/json"

// MaxDocument is the length in bytes above which no document is sent or read.
const MaxDocument = 200 << 10

// Document is what a machine with a vTPM proves about itself. Its JSON form,
// with exactly these member names, is what travels in the certificate.
// Reading the form strictly is the verifier's part (attestation/verify).
type Document struct {
	Attestation  Evidence
	InstanceInfo []byte
	UserData     []byte
	// UserDataSignature exists under BindSigned only: the attestation key's
	// RSASSA-SHA256 signature of UserData.
	UserDataSignature []byte `json:",omitempty"`
}

// Evidence is what the TPM itself produced, and the firmware's event log.
type Evidence struct {
	// AKPub is the attestation key, as TPMT_PUBLIC.
	AKPub []byte `json:"ak_pub"`
	// Quotes holds one quote for each bank that the TPM has allocated.
	Quotes   []Quote `json:"quotes"`
	EventLog []byte  `json:"event_log,omitempty"`
	// TeeAttestation is null wherever no hardware stands behind the vTPM, and
	// absent under BindSigned.
	TeeAttestation json.RawMessage `json:",omitempty"`
}

// Quote is a signed statement about all PCRs of one bank.
type Quote struct {
	// Quote is a TPMS_ATTEST.
	Quote []byte `json:"quote"`
	// RawSig is a TPMT_SIGNATURE over Quote.
	RawSig []byte `json:"raw_sig"`
	PCRs   Bank   `json:"pcrs"`
}

// Bank holds the PCR values of one hash algorithm.
type Bank struct {
	// Hash is the TPM's number of the algorithm, such as SHA256.
	Hash uint16         `json:"hash"`
	PCRs map[int][]byte `json:"pcrs"`
}

const (
	// SHA256 is the TPM's number of the only bank that is ever judged.
	SHA256 = 0x000b
	// PCRs is the number of PCRs of a bank.
	PCRs = 24
)
