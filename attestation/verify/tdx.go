package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/exactjson"
	"disk-mapper/internal/printable"

	"github.com/google/go-tdx-guest/abi"
	"github.com/google/go-tdx-guest/pcs"
	"github.com/google/go-tdx-guest/proto/tdx"
	intel "github.com/google/go-tdx-guest/verify"
)

// tdxRules is what a policy says about machines under TDX.
type tdxRules struct {
	minimumTEE []byte // 16 version numbers
	minimumQE  uint32
	minimumPCE uint16
	launched   [][]byte // MRTDs
}

// intelRootPEM is Intel's root for SGX and TDX, as the library has it.
//
//go:embed intel_root.pem
var intelRootPEM []byte

var pinnedIntel = sync.OnceValue(func() *x509.Certificate {
	root, err := firstCertificate(intelRootPEM)
	if err != nil {
		panic(fmt.Sprintf("Intel's root: %v", err)) // a constant
	}
	return root
})

// Intel's quoting enclave for TDs: who signed it and which of his products it is.
// Its attributes are compared under a mask: initialised, not debugged, allowed to
// have keys certified.
var (
	quotingSigner, _ = hex.DecodeString("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
	quotingWant, _   = hex.DecodeString("1100000000000000")
	quotingMask, _   = hex.DecodeString("fbffffffffffffff")
)

const quotingProduct = 2

// trustAzureTDX: Microsoft's paravisor, launched under TDX and known by its
// measurement, says that the key is that of the vTPM it keeps.
func trustAzureTDX(_ context.Context, v validator, e evidence) error {
	var info instance.TDX
	if err := exactjson.Unmarshal(e.info, &info); err != nil {
		return fmt.Errorf("%w: instance info: %w", ErrDocument, err)
	}
	quote, err := genuineQuote(info.AttestationReport, v.intel)
	if err != nil {
		return fmt.Errorf("%w: TDX quote: %w", ErrHardware, printable.Error(err))
	}
	if err := v.policy.tdx.judge(quote); err != nil {
		return fmt.Errorf("%w: %w", ErrHardware, err)
	}
	return checkRuntimeData(info.RuntimeData, quote.GetTdQuoteBody().GetReportData(), e.key)
}

// genuineQuote fails unless root vouches for whoever signed the quote.
func genuineQuote(raw []byte, root *x509.Certificate) (quote *tdx.QuoteV4, err error) {
	defer func() { // the library takes the lengths that a quote claims
		if broken := recover(); broken != nil {
			err = fmt.Errorf("%v", broken)
		}
	}()
	parsed, err := abi.QuoteToProto(raw)
	if err != nil {
		return nil, err
	}
	quote, ok := parsed.(*tdx.QuoteV4)
	if !ok {
		return nil, errors.New("not of version 4")
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return quote, intel.TdxQuote(quote, &intel.Options{TrustedRoots: roots})
}

// judge also checks what the library leaves to data that it would fetch: that
// the enclave behind the quote is Intel's. Without that any enclave could quote.
func (r tdxRules) judge(quote *tdx.QuoteV4) error {
	body, certification := quote.GetTdQuoteBody(), quote.GetSignedData().GetCertificationData().GetQeReportCertificationData()
	enclave := certification.GetQeReport()
	pce, err := pceVersion(certification.GetPckCertificateChainData().GetPckCertChain())
	if err != nil {
		return err
	}
	switch {
	case !bytes.Equal(enclave.GetMrSigner(), quotingSigner) || enclave.GetIsvProdId() != quotingProduct:
		return fmt.Errorf("quoting enclave of the signer %x, product %d, want Intel's for TDX", enclave.GetMrSigner(), enclave.GetIsvProdId())
	case !maskedEqual(enclave.GetAttributes(), quotingMask, quotingWant) || enclave.GetMiscSelect() != 0:
		return fmt.Errorf("quoting enclave with the attributes %x, want %x", enclave.GetAttributes(), quotingWant)
	case enclave.GetIsvSvn() < r.minimumQE:
		return fmt.Errorf("quoting enclave of version %d, want %d or later", enclave.GetIsvSvn(), r.minimumQE)
	case pce < r.minimumPCE:
		return fmt.Errorf("provisioning enclave of version %d, want %d or later", pce, r.minimumPCE)
	case !isZero(body.GetMrSignerSeam()) || !isZero(body.GetSeamAttributes()):
		return fmt.Errorf("TDX module of the signer %x, want Intel's", body.GetMrSignerSeam())
	case !isZero(body.GetTdAttributes()[:1]):
		return fmt.Errorf("TD with the attributes %x may be debugged", body.GetTdAttributes())
	case !atLeast(body.GetTeeTcbSvn(), r.minimumTEE):
		return fmt.Errorf("TDX firmware of version %x, want each byte %x or later", body.GetTeeTcbSvn(), r.minimumTEE)
	case !slices.ContainsFunc(r.launched, func(one []byte) bool { return bytes.Equal(one, body.GetMrTd()) }):
		return fmt.Errorf("MRTD is %x, which is not among the %d accepted", body.GetMrTd(), len(r.launched))
	}
	return nil
}

// pceVersion is in the certificate that Intel made for the processor.
func pceVersion(chain []byte) (uint16, error) {
	leaf, err := firstCertificate(chain)
	if err != nil {
		return 0, fmt.Errorf("certificate of the processor: %w", err)
	}
	extensions, err := pcs.PckCertificateExtensions(leaf)
	if err != nil {
		return 0, fmt.Errorf("certificate of the processor: %w", printable.Error(err))
	}
	return extensions.TCB.PCESvn, nil
}

func maskedEqual(value, mask, want []byte) bool {
	if len(value) < len(mask) {
		return false
	}
	for i := range mask {
		if value[i]&mask[i] != want[i] {
			return false
		}
	}
	return true
}

func isZero(b []byte) bool { return bytes.Equal(b, make([]byte, len(b))) }

// atLeast compares version numbers one by one.
func atLeast(found, minimum []byte) bool {
	for i, least := range minimum {
		if i >= len(found) || found[i] < least {
			return false
		}
	}
	return true
}
