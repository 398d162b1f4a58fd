package issue

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"

	"github.com/google/go-sev-guest/abi"
)

func awsSNP(_ context.Context, s source) ([]byte, error) {
	data, err := instance.KeyReportData(s.ak)
	if err != nil {
		return nil, err
	}
	info, err := s.snpReport(data)
	if err != nil {
		return nil, err
	}
	return json.Marshal(info)
}

func gcpSNP(ctx context.Context, s source) ([]byte, error) {
	info, err := s.snpReport(instance.FreshReportData(s.extraData))
	if err != nil {
		return nil, err
	}
	self, err := s.gceSelf(ctx)
	if err != nil {
		return nil, err
	}
	info.GCP = &self
	return json.Marshal(info)
}

func azureSNP(ctx context.Context, s source) ([]byte, error) {
	raw, err := s.tpm.ReadNV(ctx, hclIndex)
	if err != nil {
		return nil, err
	}
	hcl, err := instance.ParseHCL(raw, instance.HCLSNP)
	if err != nil {
		return nil, err
	}
	signer, chain, err := s.thim(ctx)
	if err != nil {
		return nil, err
	}
	if s.binding == attestation.BindSigned {
		return json.Marshal(instance.SNP21{VCEK: signer, CertChain: chain, AttestationReport: hcl.Report, RuntimeData: hcl.RuntimeData})
	}
	return json.Marshal(instance.SNP{
		ReportSigner: signer, CertChain: chain, AttestationReport: hcl.Report,
		Azure: &instance.Azure{RuntimeData: hcl.RuntimeData},
	})
}

// snpReport asks the hardware for a report at the highest privilege level.
func (s source) snpReport(data [instance.ReportDataSize]byte) (instance.SNP, error) {
	reporter, err := s.Reporter()
	if err != nil {
		return instance.SNP{}, fmt.Errorf("looking for SNP reports: %w", err)
	}
	raw, err := reporter.GetRawQuoteAtLevel(data, 0)
	if err != nil {
		return instance.SNP{}, fmt.Errorf("asking for an SNP report: %w", err)
	}
	attested, err := abi.ReportCertsToProto(raw)
	if err != nil {
		return instance.SNP{}, fmt.Errorf("SNP report: %w", err)
	}
	certificates := attested.GetCertificateChain()
	signer, err := abi.ParseSignerInfo(attested.GetReport().GetSignerInfo())
	if err != nil {
		return instance.SNP{}, fmt.Errorf("SNP report: %w", err)
	}
	der := map[abi.ReportSigner][]byte{
		abi.VcekReportSigner: certificates.GetVcekCert(), abi.VlekReportSigner: certificates.GetVlekCert(),
	}[signer.SigningKey]
	if len(der) == 0 {
		return instance.SNP{}, fmt.Errorf("SNP report: signed by a %v, whose certificate is not with it", signer.SigningKey)
	}
	return instance.SNP{
		ReportSigner: inPEM(der), CertChain: inPEM(certificates.GetAskCert()), AttestationReport: raw[:abi.ReportSize],
	}, nil
}

// inPEM is nil for no certificate. Hosts give them in either form.
func inPEM(certificate []byte) []byte {
	if block, _ := pem.Decode(certificate); len(certificate) == 0 || block != nil {
		return certificate
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
}
