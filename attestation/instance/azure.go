package instance

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"disk-mapper/internal/printable"
)

// HCLKind is the kind of hardware whose report Azure keeps for a VM.
type HCLKind uint32

// The kinds of hardware that vouch for a key.
const (
	HCLSNP HCLKind = 2
	HCLTDX HCLKind = 4
)

// HCL is what Azure's paravisor, inside of the VM, leaves in the vTPM.
type HCL struct {
	// Report is an SNP report, or a TDREPORT.
	Report []byte
	// RuntimeData is the JSON that the report has a hash of.
	RuntimeData []byte
}

// The layout of the NV index: a header, the report in a room of fixed size, a
// header of the runtime data, the runtime data.
const (
	reportAt      = 32
	runtimeHeadAt = 1216
	runtimeAt     = 1236
)

var reportSize = map[HCLKind]int{HCLSNP: 1184, HCLTDX: 1024}

// ParseHCL reads the contents of the NV index. It fails unless the report is
// one of kind.
func ParseHCL(raw []byte, kind HCLKind) (HCL, error) {
	if len(raw) < runtimeAt {
		return HCL{}, fmt.Errorf("HCL report of %d bytes, want %d or more", len(raw), runtimeAt)
	}
	head := raw[runtimeHeadAt:]
	if found := HCLKind(binary.LittleEndian.Uint32(head[8:])); found != kind {
		return HCL{}, fmt.Errorf("HCL report of hardware %d, want %d", found, kind)
	}
	length := binary.LittleEndian.Uint32(head[16:])
	if uint64(length) > uint64(len(raw)-runtimeAt) {
		return HCL{}, fmt.Errorf("HCL report claims runtime data of %d bytes, has %d", length, len(raw)-runtimeAt)
	}
	return HCL{
		Report:      raw[reportAt : reportAt+reportSize[kind]],
		RuntimeData: raw[runtimeAt : runtimeAt+length],
	}, nil
}

// RuntimeKey returns the attestation key that runtime data name: the first of
// their keys. Their other members are of no interest.
func RuntimeKey(runtimeData []byte) (*rsa.PublicKey, error) {
	var data struct {
		Keys []struct {
			N, E string
		} `json:"keys"`
	}
	if err := json.Unmarshal(runtimeData, &data); err != nil {
		return nil, fmt.Errorf("runtime data: %w", printable.Error(err))
	}
	if len(data.Keys) == 0 {
		return nil, errors.New("runtime data: no keys")
	}
	n, nErr := base64.RawURLEncoding.DecodeString(data.Keys[0].N)
	e, eErr := base64.RawURLEncoding.DecodeString(data.Keys[0].E)
	if err := errors.Join(nErr, eErr); err != nil {
		return nil, fmt.Errorf("runtime data: first key: %w", err)
	}
	exponent := new(big.Int).SetBytes(e)
	if !exponent.IsInt64() {
		return nil, errors.New("runtime data: first key: exponent of more than 64 bits")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

// TrustedLaunch is the instance info of Azure VMs without hardware behind their
// vTPM: two certificates, in DER.
type TrustedLaunch struct {
	AkCert []byte
	CA     []byte // the issuer of AkCert
}

// TDX is the instance info of Azure VMs under TDX.
type TDX struct {
	AttestationReport []byte // a quote
	// RuntimeData is JSON with the attestation key, in the bytes that the quote
	// has a hash of.
	RuntimeData []byte
}
