package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"disk-mapper/attestation"

	"google.golang.org/grpc/credentials"
)

// QuoteOf has the node at address quote for a nonce of the caller's choice.
func QuoteOf(address string, nonce []byte) (d attestation.Document, err error) {
	conn, err := tls.Dial("tcp", address, &tls.Config{
		InsecureSkipVerify: true, ServerName: base64.StdEncoding.EncodeToString(nonce), NextProtos: []string{"h2"},
	})
	if err != nil {
		return d, err
	}
	defer conn.Close()
	for _, extension := range conn.ConnectionState().PeerCertificates[0].Extensions {
		if extension.Id.Equal(attestation.QEMUVTPM.OID()) {
			return d, json.Unmarshal(extension.Value, &d)
		}
	}
	return d, fmt.Errorf("%s sent no document", address)
}

// Repacked are the credentials of a stranger without a TPM: a TLS key of its own, and
// the quotes of the node at an address, which is to take a nonce of profile 2.1.
func Repacked(node string) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		InsecureSkipVerify: true, ServerName: base64.StdEncoding.EncodeToString(make([]byte, attestation.NonceSize)),
		GetClientCertificate: func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) { return repack(node, request) },
	})
}

func repack(node string, request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	nonce, err := nonceIn(request)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	userData := sha256.Sum256(spki)
	document, err := RepackedDocument(node, userData[:], nonce)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{{Id: attestation.QEMUVTPM.OID(), Value: document}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// RepackedDocument is the one for a nonce of profile 2.24 and the hash of a stranger's key.
func RepackedDocument(node string, userData, nonce []byte) ([]byte, error) {
	chosen, err := attestation.BindHashChain.QualifyingData(userData, nonce, nil)
	if err != nil {
		return nil, err
	}
	d, err := QuoteOf(node, chosen)
	if err != nil {
		return nil, err
	}
	d.UserData, d.UserDataSignature = userData, nil
	return json.Marshal(d)
}

// nonceIn is the nonce that a server of attested TLS sends as name of an authority.
func nonceIn(request *tls.CertificateRequestInfo) ([]byte, error) {
	if len(request.AcceptableCAs) == 0 {
		return nil, errors.New("the server wants no attestation")
	}
	var sequence pkix.RDNSequence
	if _, err := asn1.Unmarshal(request.AcceptableCAs[0], &sequence); err != nil {
		return nil, err
	}
	var authority pkix.Name
	authority.FillFromRDNSequence(&sequence)
	return base64.StdEncoding.DecodeString(authority.CommonName)
}
