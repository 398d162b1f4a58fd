package issue

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/printable"

	tools "github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/tpmutil"
)

// Where Azure leaves things in the vTPM.
const (
	keyHandle        = tpmutil.Handle(0x81000003)
	hclIndex         = 0x01400001 // the report about the VM
	certificateIndex = 0x01c101d0 // the certificate of the key
)

// azureKey is the key that Azure puts into each vTPM.
func azureKey(tpm io.ReadWriter) (*tools.Key, error) {
	return tools.LoadCachedKey(tpm, keyHandle, tools.NullSession{})
}

func azureTDX(ctx context.Context, s source) ([]byte, error) {
	raw, err := s.tpm.ReadNV(ctx, hclIndex)
	if err != nil {
		return nil, err
	}
	hcl, err := instance.ParseHCL(raw, instance.HCLTDX)
	if err != nil {
		return nil, err
	}
	quote, err := s.tdxQuote(ctx, hcl.Report)
	if err != nil {
		return nil, err
	}
	return json.Marshal(instance.TDX{AttestationReport: quote, RuntimeData: hcl.RuntimeData})
}

// tdxQuote has Azure's quoting enclave make a quote of a report.
func (s source) tdxQuote(ctx context.Context, report []byte) ([]byte, error) {
	const where = "/acc/tdquote"
	question, err := json.Marshal(map[string]string{"report": base64.RawURLEncoding.EncodeToString(report)})
	if err != nil {
		return nil, err
	}
	raw, err := s.exchange(ctx, http.MethodPost, s.Metadata+where, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	var answer struct{ Quote string }
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("reading %s: %w", where, printable.Error(err))
	}
	quote, err := base64.RawURLEncoding.DecodeString(answer.Quote)
	if err != nil || len(quote) == 0 {
		return nil, fmt.Errorf("reading %s: base64 of %d characters, want a quote", where, len(answer.Quote))
	}
	return quote, nil
}

func azureTrustedLaunch(ctx context.Context, s source) ([]byte, error) {
	raw, err := s.tpm.ReadNV(ctx, certificateIndex)
	if err != nil {
		return nil, err
	}
	var exact asn1.RawValue // the index may have more room than the certificate needs
	if _, err := asn1.Unmarshal(raw, &exact); err != nil {
		return nil, fmt.Errorf("certificate of the key: %w", printable.Error(err))
	}
	certificate, err := x509.ParseCertificate(exact.FullBytes)
	if err != nil {
		return nil, fmt.Errorf("certificate of the key: %w", printable.Error(err))
	}
	ca, err := s.issuerOf(ctx, certificate)
	if err != nil {
		return nil, fmt.Errorf("issuer of the key's certificate: %w", err)
	}
	return json.Marshal(instance.TrustedLaunch{AkCert: certificate.Raw, CA: ca.Raw})
}

// issuerOf fetches the issuer's certificate from the first place that has it.
func (s source) issuerOf(ctx context.Context, certificate *x509.Certificate) (*x509.Certificate, error) {
	failed := errors.New("the certificate does not say where it is")
	for _, url := range certificate.IssuingCertificateURL {
		raw, err := s.exchange(ctx, http.MethodGet, url, nil, nil)
		if err != nil {
			failed = err
			continue
		}
		issuer, err := x509.ParseCertificate(raw)
		if err == nil {
			return issuer, nil
		}
		failed = fmt.Errorf("%s: %w", printable.Text(url), printable.Error(err))
	}
	return nil, failed
}
