package issue

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"disk-mapper/attestation/instance"

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

func azureTrustedLaunch(ctx context.Context, s source) ([]byte, error) {
	raw, err := s.tpm.ReadNV(ctx, certificateIndex)
	if err != nil {
		return nil, err
	}
	var exact asn1.RawValue // the index may have more room than the certificate needs
	if _, err := asn1.Unmarshal(raw, &exact); err != nil {
		return nil, fmt.Errorf("certificate of the key: %w", err)
	}
	certificate, err := x509.ParseCertificate(exact.FullBytes)
	if err != nil {
		return nil, fmt.Errorf("certificate of the key: %w", err)
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
		raw, err := s.exchange(ctx, http.MethodGet, url, nil)
		if err != nil {
			failed = err
			continue
		}
		issuer, err := x509.ParseCertificate(raw)
		if err == nil {
			return issuer, nil
		}
		failed = fmt.Errorf("%s: %w", url, err)
	}
	return nil, failed
}
