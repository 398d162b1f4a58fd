package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/internal/exactjson"
	"disk-mapper/internal/printable"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	snp "github.com/google/go-sev-guest/verify"
)

// snpRules is what a policy says about machines under SEV-SNP.
type snpRules struct {
	// minimumTCB holds for the firmware at the launch of the VM and for what the
	// report claims.
	minimumTCB kds.TCBParts
	// idKeys are the hashes of the keys that may have signed what was launched.
	idKeys [][]byte
}

// trustAWSSNP: an SNP guest in Amazon's cloud has asked for a report about the
// key.
func trustAWSSNP(_ context.Context, v validator, e evidence) error {
	want, err := instance.KeyReportData(e.key.public)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	info, err := snpInfo(e.info)
	if err != nil {
		return err
	}
	_, err = v.snpReport(info, abi.VlekReportSigner, validate.Options{ReportData: want[:]})
	return err
}

// trustGCPSNP: an SNP guest has asked for a report for this connection, and
// Google says that the key is the claimed instance's.
func trustGCPSNP(ctx context.Context, v validator, e evidence) error {
	info, err := snpInfo(e.info)
	if err != nil {
		return err
	}
	if info.GCP == nil {
		return fmt.Errorf("%w: instance info without GCP", ErrDocument)
	}
	want := instance.FreshReportData(e.extraData)
	if _, err = v.snpReport(info, abi.VcekReportSigner, validate.Options{ReportData: want[:]}); err != nil {
		return err
	}
	return v.trustGCE(ctx, *info.GCP, e.key)
}

// trustAzureSNP: Microsoft's paravisor, launched under SEV-SNP and known by the
// key that signed it, says that the key is that of the vTPM it keeps.
func trustAzureSNP(_ context.Context, v validator, e evidence) error {
	info, err := v.azureInfo(e.info)
	if err != nil {
		return err
	}
	if info.Azure == nil {
		return fmt.Errorf("%w: instance info without Azure", ErrDocument)
	}
	report, err := v.snpReport(info, abi.VcekReportSigner, validate.Options{
		RequireIDBlock: true, TrustedIDKeyHashes: v.policy.snp.idKeys,
	})
	if err != nil {
		return err
	}
	return checkRuntimeData(info.Azure.RuntimeData, report.GetReportData(), e.key)
}

// checkRuntimeData ties key to the report that has reportData.
func checkRuntimeData(runtimeData, reportData []byte, key attestationKey) error {
	if digest := sha256.Sum256(runtimeData); !bytes.HasPrefix(reportData, digest[:]) {
		return fmt.Errorf("%w: report is about runtime data with the hash %.64x, found %x", ErrHardware, reportData, digest)
	}
	named, err := instance.RuntimeKey(runtimeData)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHardware, err)
	}
	if !named.Equal(key.public) {
		return fmt.Errorf("%w: it is not the one in the runtime data", ErrKey)
	}
	return nil
}

// azureInfo reads the form that goes with the binding.
func (v validator) azureInfo(raw []byte) (instance.SNP, error) {
	if v.binding != attestation.BindSigned {
		return snpInfo(raw)
	}
	var old instance.SNP21
	if err := exactjson.Unmarshal(raw, &old); err != nil {
		return instance.SNP{}, fmt.Errorf("%w: instance info: %w", ErrDocument, err)
	}
	return instance.SNP{
		ReportSigner: old.VCEK, CertChain: old.CertChain, AttestationReport: old.AttestationReport,
		Azure: &instance.Azure{RuntimeData: old.RuntimeData},
	}, nil
}

func snpInfo(raw []byte) (instance.SNP, error) {
	var info instance.SNP
	if err := exactjson.Unmarshal(raw, &info, "CertChain", "Azure", "GCP"); err != nil {
		return instance.SNP{}, fmt.Errorf("%w: instance info: %w", ErrDocument, err)
	}
	return info, nil
}

// snpReport returns the report in info if AMD's roots vouch for it through a
// key of the wanted kind, and if it fulfils the policy and want.
func (v validator) snpReport(info instance.SNP, signer abi.ReportSigner, want validate.Options) (*sevsnp.Report, error) {
	attested, err := snpAttestation(info, signer)
	if err != nil {
		return nil, err
	}
	roots, err := v.amd.with(info.CertChain)
	if err != nil {
		return nil, err
	}
	// Without TrustedRoots the library would believe the issuer's own root.
	if err := snp.SnpAttestation(attested, &snp.Options{DisableCertFetching: true, TrustedRoots: roots, Now: time.Now()}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHardware, printable.Error(err))
	}
	highest := 0
	want.VMPL = &highest
	want.GuestPolicy = abi.SnpPolicy{SMT: true} // and no debugging, no migration
	want.MinimumTCB, want.MinimumLaunchTCB = v.policy.snp.minimumTCB, v.policy.snp.minimumTCB
	want.PermitProvisionalFirmware = true
	if err := validate.SnpAttestation(attested, &want); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHardware, printable.Error(err))
	}
	return attested.GetReport(), nil
}

// snpAttestation is info in the form of the library, which tells kinds of keys
// by the place of their certificates.
func snpAttestation(info instance.SNP, signer abi.ReportSigner) (*sevsnp.Attestation, error) {
	if len(info.AttestationReport) != abi.ReportSize {
		return nil, fmt.Errorf("%w: SNP report of %d bytes, want %d", ErrDocument, len(info.AttestationReport), abi.ReportSize)
	}
	report, err := abi.ReportToProto(info.AttestationReport)
	if err != nil {
		return nil, fmt.Errorf("%w: SNP report: %w", ErrDocument, printable.Error(err))
	}
	certificate, err := firstCertificate(info.ReportSigner)
	if err != nil {
		return nil, fmt.Errorf("%w: report signer: %w", ErrDocument, err)
	}
	found, err := abi.ParseSignerInfo(report.GetSignerInfo())
	if err != nil || found.SigningKey != signer {
		return nil, fmt.Errorf("%w: report is signed by a %v, want a %v", ErrHardware, found.SigningKey, signer)
	}
	chain := &sevsnp.CertificateChain{VcekCert: certificate.Raw}
	if signer == abi.VlekReportSigner {
		chain = &sevsnp.CertificateChain{VlekCert: certificate.Raw}
	}
	return &sevsnp.Attestation{Report: report, CertificateChain: chain}, nil
}
