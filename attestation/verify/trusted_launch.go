package verify

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/exactjson"
	"disk-mapper/internal/printable"
)

var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// trustAzureTrustedLaunch: a root of the policy's says, through one certificate
// between them, that the key is that of a vTPM of Azure's.
func trustAzureTrustedLaunch(_ context.Context, v validator, e evidence) error {
	var info instance.TrustedLaunch
	if err := exactjson.Unmarshal(e.info, &info); err != nil {
		return fmt.Errorf("%w: instance info: %w", ErrDocument, err)
	}
	certificate, err := x509.ParseCertificate(info.AkCert)
	if err != nil {
		return fmt.Errorf("%w: certificate of the key: %w", ErrDocument, printable.Error(err))
	}
	issuer, err := x509.ParseCertificate(info.CA)
	if err != nil {
		return fmt.Errorf("%w: certificate of the key's issuer: %w", ErrDocument, printable.Error(err))
	}
	if err := checkChain(certificate, issuer, v.policy.akRoots); err != nil {
		return fmt.Errorf("%w: %w", ErrKey, printable.Error(err))
	}
	if !e.key.public.Equal(certificate.PublicKey) {
		return fmt.Errorf("%w: it is not the one in its certificate", ErrKey)
	}
	return nil
}

// checkChain takes the word of roots at any time after they began, for as long
// as the operator lists them: what they have signed has to be valid now.
func checkChain(certificate, issuer *x509.Certificate, roots []*x509.Certificate) error {
	now := time.Now()
	anchors, between := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range roots {
		lasting := *root
		lasting.NotAfter = now.Add(time.Hour)
		anchors.AddCert(&lasting)
	}
	between.AddCert(issuer)
	// TPMs have alternative names of a form that the library does not know, and
	// nothing here depends on names.
	certificate.UnhandledCriticalExtensions = slices.DeleteFunc(certificate.UnhandledCriticalExtensions, subjectAltName.Equal)
	_, err := certificate.Verify(x509.VerifyOptions{
		Roots: anchors, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}
