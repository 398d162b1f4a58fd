// Package instance has the forms of the instance info of documents, and the
// rules by which hardware reports in it are bound to attestation keys. Issuers
// write them, validators read them.
//
// Non-goals: nothing here is a verdict. Reading JSON strictly, and judging what
// is in it, is attestation/verify.
package instance

import (
	"crypto"
	"crypto/sha512"
	"crypto/x509"
)

// SNP is the instance info of machines under SEV-SNP. The JSON form has all
// members, null where there is nothing.
type SNP struct {
	// ReportSigner is the certificate of the key that signed the report, in PEM:
	// VCEK or VLEK.
	ReportSigner []byte
	// CertChain begins with the certificate of the key above, in PEM. It may be
	// null.
	CertChain         []byte
	AttestationReport []byte
	Azure             *Azure
	GCP               *GCE
}

// SNP21 is the form of release 2.1, which Azure alone has.
type SNP21 struct {
	VCEK              []byte `json:"Vcek"` // in PEM
	CertChain         []byte
	AttestationReport []byte
	RuntimeData       []byte
}

// Azure is what ties the vTPM of an Azure VM to the report.
type Azure struct {
	// RuntimeData is JSON with the attestation key, in the bytes that the report
	// has a hash of.
	RuntimeData []byte
	// MAAToken is a statement of Microsoft's attestation service.
	MAAToken string
}

// GCE names an instance of Compute Engine.
type GCE struct {
	Zone    string `json:"zone"`
	Project string `json:"project_id"`
	Name    string `json:"instance_name"`
}

// ReportDataSize is how much a guest can have signed in an SNP report.
const ReportDataSize = 64

// KeyReportData is the report data that vouches for an attestation key: the
// SHA-512 of its SubjectPublicKeyInfo. It is the same for all documents.
func KeyReportData(ak crypto.PublicKey) ([ReportDataSize]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(ak)
	if err != nil {
		return [ReportDataSize]byte{}, err
	}
	return sha512.Sum512(der), nil
}

// FreshReportData is the report data that is fresh for extraData, and silent
// about the attestation key.
func FreshReportData(extraData []byte) (data [ReportDataSize]byte) {
	copy(data[:], extraData)
	return data
}
