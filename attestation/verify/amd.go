package verify

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/go-sev-guest/verify/trust"

	"disk-mapper/internal/printable"
)

// amdCertificates are AMD's root keys and those right below them, by the name
// of a generation of processors.
type amdCertificates map[string]*trust.ProductCerts

// pinnedAMD are the certificates in the library. Turin is left out: the library
// reads its firmware versions as if they were those of the others.
var pinnedAMD = sync.OnceValue(func() amdCertificates {
	return amdCertificates{
		"Milan": pinned(trust.AskArkMilanVcekBytes, trust.AskArkMilanVlekBytes),
		"Genoa": pinned(trust.AskArkGenoaVcekBytes, trust.AskArkGenoaVlekBytes),
	}
})

func pinned(chains ...[]byte) *trust.ProductCerts {
	certificates := &trust.ProductCerts{}
	for _, chain := range chains {
		if err := certificates.FromKDSCertBytes(chain); err != nil {
			panic(fmt.Sprintf("AMD's certificates in the library: %v", err)) // constants
		}
	}
	return certificates
}

// with adds the intermediate certificate at the beginning of an issuer's chain,
// if there is a chain: AMD may have made a new one. The roots are the pinned
// ones in any case.
func (a amdCertificates) with(chain []byte) (map[string][]*trust.AMDRootCerts, error) {
	roots := map[string][]*trust.AMDRootCerts{}
	for line, certificates := range a {
		roots[line] = []*trust.AMDRootCerts{{ProductLine: line, ProductCerts: certificates}}
	}
	if len(chain) == 0 {
		return roots, nil
	}
	intermediate, err := firstCertificate(chain)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate chain: %w", ErrDocument, err)
	}
	for line, certificates := range a {
		issued := trust.ProductCerts{Ask: intermediate, Ark: certificates.Ark}
		if strings.HasPrefix(intermediate.Subject.CommonName, "SEV-VLEK") {
			issued = trust.ProductCerts{Asvk: intermediate, Ark: certificates.Ark}
		}
		roots[line] = append(roots[line], &trust.AMDRootCerts{ProductLine: line, ProductCerts: &issued})
	}
	return roots, nil
}

func firstCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	return certificate, printable.Error(err)
}
