package verify_test

import (
	"encoding/binary"
	"encoding/pem"
	"sync"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/attestation/verify"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	amd "github.com/google/go-sev-guest/testing"
	"github.com/google/go-sev-guest/verify/trust"
	"github.com/stretchr/testify/require"
)

// Where things are in an SNP report.
const (
	atVersion      = 0x00
	atPolicy       = 0x08
	atVMPL         = 0x30
	atAlgorithm    = 0x34
	atCurrentTCB   = 0x38
	atSignerInfo   = 0x48
	atReportData   = 0x50
	atIDKeyDigest  = 0xe0
	atReportedTCB  = 0x180
	atCommittedTCB = 0x1e0
	atLaunchTCB    = 0x1f0
	atSignature    = 0x2a0
)

var firmware = kds.TCBParts{BlSpl: 3, SnpSpl: 8, UcodeSpl: 115}

// fakeAMD makes certificates that are shaped as AMD's, for processors with
// firmware.
var fakeAMD = sync.OnceValue(func() *amd.AmdSigner { return certify(amd.DefaultAmdKeys()) })

// otherAMD is another one of the same name.
var otherAMD = sync.OnceValue(func() *amd.AmdSigner {
	keys := amd.DefaultAmdKeys()
	keys.Ark, keys.Ask, keys.Asvk = keys.Ask, keys.Asvk, keys.Ark
	return certify(keys)
})

func certify(keys *amd.AmdKeys) *amd.AmdSigner {
	before := time.Now().Add(-time.Hour)
	builder := amd.AmdSignerBuilder{
		Keys: keys, ProductName: "Milan-B0",
		ArkCreationTime: before, AskCreationTime: before, AsvkCreationTime: before, VcekCreationTime: before, VlekCreationTime: before,
		VcekCustom: amd.CertOverride{Extensions: amd.CustomExtensions(firmware, make([]byte, abi.ChipIDSize), "", "Milan-B0")},
		VlekCustom: amd.CertOverride{Extensions: amd.CustomExtensions(firmware, nil, "cloud", "Milan-B0")},
	}
	signer, err := builder.TestOnlyCertChain()
	if err != nil {
		panic(err)
	}
	return signer
}

// believing makes v take fakeAMD for AMD. It knows no intermediate certificate
// of VCEKs, which is what Google and Azure hand out.
func believing(v attestation.Validator) attestation.Validator {
	return verify.TrustAMD(v, "Milan", &trust.ProductCerts{Ark: fakeAMD().Ark, Asvk: fakeAMD().Asvk})
}

// unsigned is an honest report at privilege level 0.
func unsigned(signer abi.ReportSigner, data []byte) []byte {
	raw := amd.CreateRawReport(&amd.TestReportOptions{ReportData: data, SignerInfo: abi.SignerInfo{SigningKey: signer}})
	report := raw[:abi.ReportSize]
	binary.LittleEndian.PutUint64(report[atPolicy:], abi.SnpPolicyToBytes(abi.SnpPolicy{SMT: true}))
	for _, at := range []int{atCurrentTCB, atReportedTCB, atCommittedTCB, atLaunchTCB} {
		setTCB(report, at, firmware)
	}
	copy(report[atIDKeyDigest:], idKey)
	return report
}

func setTCB(report []byte, at int, parts kds.TCBParts) {
	version, err := kds.ComposeTCBParts(parts)
	if err != nil {
		panic(err)
	}
	binary.LittleEndian.PutUint64(report[at:], uint64(version))
}

func signed(t testing.TB, by *amd.AmdSigner, report []byte) []byte {
	t.Helper()
	r, s, err := by.Sign(abi.SignedComponent(report))
	require.NoError(t, err)
	require.NoError(t, abi.SetSignature(r, s, report))
	return report
}

func inPEM(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }

// snpMachine is a machine under SEV-SNP of one variant.
type snpMachine struct {
	variant attestation.Variant
	vendor  *amd.AmdSigner
	report  func([]byte) // changes what is about to be signed
}

// info is honest but for what m says.
func (m snpMachine) info(t testing.TB, p *prover) instance.SNP {
	t.Helper()
	var info instance.SNP
	kind, data := abi.ReportSigner(abi.VcekReportSigner), [64]byte{}
	info.ReportSigner, info.CertChain = inPEM(m.vendor.Vcek.Raw), inPEM(m.vendor.Ask.Raw)
	switch m.variant {
	case attestation.AWSSEVSNP:
		kind, info.ReportSigner, info.CertChain = abi.VlekReportSigner, inPEM(m.vendor.Vlek.Raw), nil
		var err error
		data, err = instance.KeyReportData(&p.key.PublicKey)
		require.NoError(t, err)
	case attestation.GCPSEVSNP:
		extraData, err := attestation.ExtraData(userData, nonce)
		require.NoError(t, err)
		data, info.GCP = instance.FreshReportData(extraData), &instance.GCE{Zone: "europe-west3-b", Project: "clusters", Name: "node-1"}
	case attestation.AzureSEVSNP:
		runtime := runtimeData(&p.key.PublicKey)
		copy(data[:], digest(runtime))
		info.Azure = &instance.Azure{RuntimeData: runtime}
	}
	report := unsigned(kind, data[:])
	if m.report != nil {
		m.report(report)
	}
	info.AttestationReport = signed(t, m.vendor, report)
	return info
}
