package verify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/google/go-tdx-guest/abi"
	"github.com/google/go-tdx-guest/proto/tdx"
	genuine "github.com/google/go-tdx-guest/testing/testdata"
	"github.com/stretchr/testify/require"
)

// fakeIntel certifies processors as Intel does.
type fakeIntel struct {
	root, between, leaf *x509.Certificate
	key                 *ecdsa.PrivateKey // of the leaf
}

var someIntel, otherIntel = sync.OnceValue(newIntel), sync.OnceValue(newIntel)

// sgxExtension has the version numbers of a processor.
var sgxExtension = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

func newIntel() *fakeIntel {
	rootKey, betweenKey, leafKey := newECKey(), newECKey(), newECKey()
	name := func(cn string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			Subject: pkix.Name{CommonName: cn, Organization: []string{"Intel Corporation"}},
			IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	root, between, leaf := name("Intel SGX Root CA"), name("Intel SGX PCK Platform CA"), name("Intel SGX PCK Certificate")
	leaf.IsCA = false
	leaf.SubjectKeyId, leaf.CRLDistributionPoints = []byte{1}, []string{"https://api.example.org/crl"} // the library counts extensions
	leaf.ExtraExtensions = []pkix.Extension{{Id: sgxExtension, Value: genuineExtension()}}
	i := &fakeIntel{key: leafKey}
	i.root = signCertificate(root, root, rootKey, rootKey)
	i.between = signCertificate(between, i.root, betweenKey, rootKey)
	i.leaf = signCertificate(leaf, i.between, leafKey, betweenKey)
	return i
}

func newECKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func signCertificate(template, by *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return certificate
}

// genuineExtension is that of a real processor.
func genuineExtension() []byte {
	chain := genuineQuote().GetSignedData().GetCertificationData().GetQeReportCertificationData().GetPckCertificateChainData().GetPckCertChain()
	block, _ := pem.Decode(chain)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic(err)
	}
	i := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(sgxExtension) })
	return leaf.Extensions[i].Value
}

func genuineQuote() *tdx.QuoteV4 {
	quote, err := abi.QuoteToProto(genuine.RawQuote)
	if err != nil {
		panic(err)
	}
	return quote.(*tdx.QuoteV4)
}

// quote makes one of a real machine's, with other report data, and whatever else
// change wants, before anything is signed.
func (i *fakeIntel) quote(t testing.TB, reportData []byte, change func(*tdx.QuoteV4)) []byte {
	t.Helper()
	quote, key := genuineQuote(), newECKey()
	quote.ExtraBytes = nil
	copy(quote.TdQuoteBody.ReportData, append(slices.Clone(reportData), make([]byte, 32)...))
	if change != nil {
		change(quote)
	}
	signed := quote.SignedData
	public, err := key.PublicKey.Bytes()
	require.NoError(t, err)
	signed.EcdsaAttestationKey = public[1:]
	certification := signed.CertificationData.QeReportCertificationData
	hash := sha256.Sum256(slices.Concat(signed.EcdsaAttestationKey, certification.QeAuthData.Data))
	certification.QeReport.ReportData = append(hash[:], make([]byte, 32)...)
	raw, err := abi.EnclaveReportToAbiBytes(certification.QeReport)
	require.NoError(t, err)
	certification.QeReportSignature = rawSignature(t, i.key, raw)
	chain := slices.Concat(inPEM(i.leaf.Raw), inPEM(i.between.Raw), inPEM(i.root.Raw))
	certification.PckCertificateChainData.PckCertChain = chain
	certification.PckCertificateChainData.Size = uint32(len(chain))
	signed.CertificationData.Size = uint32(384 + 64 + 2 + len(certification.QeAuthData.Data) + 6 + len(chain))
	quote.SignedDataSize = 64 + 64 + 6 + signed.CertificationData.Size
	header, err := abi.HeaderToAbiBytes(quote.Header)
	require.NoError(t, err)
	body, err := abi.TdQuoteBodyToAbiBytes(quote.TdQuoteBody)
	require.NoError(t, err)
	signed.Signature = rawSignature(t, key, slices.Concat(header, body))
	raw, err = abi.QuoteToAbiBytes(quote)
	require.NoError(t, err)
	return raw
}

// rawSignature has both numbers one after the other.
func rawSignature(t testing.TB, key *ecdsa.PrivateKey, message []byte) []byte {
	t.Helper()
	hash := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, hash[:])
	require.NoError(t, err)
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func believingIntel(v attestation.Validator) attestation.Validator {
	return verify.TrustIntel(v, someIntel().root)
}
