//go:build cgo

// The TPM simulator needs cgo.
package verify_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/instance"
	"disk-mapper/attestation/issue"
	"disk-mapper/attestation/vtpm"
	"disk-mapper/internal/cloud"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm-tools/simulator"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"
	"github.com/stretchr/testify/require"
)

// issuerPath is where the certificate of a key says that its issuer's is.
const issuerPath = "/issuer"

// machine is a simulated TPM with what a provider puts into it, and the services
// around it.
type machine struct {
	tpm      *vtpm.TPM
	key      *rsa.PublicKey
	url      string
	metadata map[string]string // answers by "METHOD path text": the body, or the value of the header that is wanted
	reporter reporter
}

// reporter signs reports as the processor does.
type reporter struct {
	kind   abi.ReportSigner
	level  *uint // that was asked for
	failed error
}

func (r reporter) GetRawQuoteAtLevel(data [64]byte, level uint) ([]byte, error) {
	*r.level = level
	certificates, err := fakeAMD().CertTableBytes()
	if err != nil || r.failed != nil {
		return nil, r.failed
	}
	report := unsigned(r.kind, data[:])
	if r.kind == abi.NoneReportSigner {
		return append(report, certificates...), nil
	}
	rValue, sValue, err := fakeAMD().Sign(abi.SignedComponent(report))
	if err == nil {
		err = abi.SetSignature(rValue, sValue, report)
	}
	return append(report, certificates...), err
}

// startMachine starts what a provider of variant would: there is one simulated TPM
// at a time.
func startMachine(t *testing.T, variant attestation.Variant) *machine {
	t.Helper()
	sim, err := simulator.Get()
	require.NoError(t, err)
	eventLog := []byte("event log")
	tpm := vtpm.New(sim, func() ([]byte, error) { return eventLog, nil })
	t.Cleanup(func() { require.NoError(t, tpm.Close()) })
	m := &machine{tpm: tpm, reporter: reporter{level: new(uint)}, metadata: map[string]string{}}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.url = server.URL
	switch variant {
	case attestation.AWSSEVSNP:
		m.reporter.kind = abi.VlekReportSigner
	case attestation.AWSNitroTPM:
		m.metadata["PUT /latest/api/token 300"] = "token"
		m.metadata["GET /latest/dynamic/instance-identity/document token"] = amazonInfo
	case attestation.GCPSEVES, attestation.GCPSEVSNP:
		eventLog = testdata.Cos101AmdSevEventLog
		for _, digest := range pcr0Events(t, eventLog) {
			require.NoError(t, tpm2.PCRExtend(sim, 0, tpm2.AlgSHA256, digest, ""))
		}
		m.key = googleKey(t, sim)
		m.metadata = metadataOfGoogle()
	case attestation.AzureTDX:
		m.key = azureKey(t, sim)
		runtime := runtimeData(m.key)
		report := bytes.Repeat([]byte{'r'}, 1024)
		writeNV(t, sim, 0x01400001, hcl(report, runtime, uint32(instance.HCLTDX)))
		question := `{"report":"` + base64.RawURLEncoding.EncodeToString(report) + `"}`
		quote := someIntel().quote(t, digest(runtime), nil)
		m.metadata["POST /acc/tdquote "+question] = `{"quote":"` + base64.RawURLEncoding.EncodeToString(quote) + `"}`
	case attestation.AzureTrustedLaunch:
		chain := chainFor(azureKey(t, sim), func(l *link) { l.certificate.IssuingCertificateURL = []string{m.url + "/gone", m.url + issuerPath} })
		writeNV(t, sim, 0x01c101d0, append(chain.certificate, make([]byte, 100)...))
		m.metadata["GET "+issuerPath+" "] = string(chain.issuer)
	case attestation.AzureSEVSNP:
		m.key = azureKey(t, sim)
		runtime := runtimeData(m.key)
		report := unsigned(abi.VcekReportSigner, digest(runtime))
		writeNV(t, sim, 0x01400001, hcl(signed(t, fakeAMD(), report), runtime, uint32(instance.HCLSNP)))
		m.metadata["GET /metadata/THIM/amd/certification True"] = thim(t)
	}
	return m
}

func (m *machine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	question, err := io.ReadAll(r.Body)
	header := string(question)
	for _, name := range []string{"Metadata-Flavor", "Metadata", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "X-Aws-Ec2-Metadata-Token"} {
		header += r.Header.Get(name)
	}
	answer, known := m.metadata[r.Method+" "+r.URL.Path+" "+header]
	if !known || err != nil {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write([]byte(answer)) // fails where the client has hung up
}

func (m *machine) issuer(t *testing.T, variant attestation.Variant, binding attestation.Binding) attestation.Issuer {
	t.Helper()
	issuer, err := issue.New(variant, m.tpm, binding, issue.Platform{
		HTTP: cloud.NewHTTPClient(), Metadata: m.url,
		Reporter: func() (issue.Reporter, error) { return m.reporter, nil },
	})
	require.NoError(t, err)
	return issuer
}

func metadataOfGoogle() map[string]string {
	return map[string]string{
		"GET /computeMetadata/v1/project/project-id Google": "clusters",
		"GET /computeMetadata/v1/instance/zone Google":      "projects/1234/zones/europe-west3-b",
		"GET /computeMetadata/v1/instance/name Google":      "node-1",
	}
}

// googleKey has the template of the key in NV, as Google does.
func googleKey(t *testing.T, tpm io.ReadWriter) *rsa.PublicKey {
	t.Helper()
	template, err := client.AKTemplateRSA().Encode()
	require.NoError(t, err)
	writeNV(t, tpm, client.GceAKTemplateNVIndexRSA, template)
	key, err := client.GceAttestationKeyRSA(tpm)
	require.NoError(t, err)
	defer key.Close()
	return key.PublicKey().(*rsa.PublicKey)
}

// azureKey has the key at its handle, as Azure does.
func azureKey(t *testing.T, tpm io.ReadWriter) *rsa.PublicKey {
	t.Helper()
	key, err := client.NewCachedKey(tpm, tpm2.HandleOwner, client.AKTemplateRSA(), tpmutil.Handle(0x81000003))
	require.NoError(t, err)
	return key.PublicKey().(*rsa.PublicKey)
}

func writeNV(t *testing.T, tpm io.ReadWriter, index uint32, value []byte) {
	t.Helper()
	attributes := tpm2.AttrOwnerWrite | tpm2.AttrOwnerRead
	require.NoError(t, tpm2.NVDefineSpace(tpm, tpm2.HandleOwner, tpmutil.Handle(index), "", "", nil, attributes, uint16(len(value))))
	for at := 0; at < len(value); at += 512 {
		part := value[at:min(at+512, len(value))]
		require.NoError(t, tpm2.NVWrite(tpm, tpm2.HandleOwner, tpmutil.Handle(index), "", part, uint16(at)))
	}
}

// hcl has more room than it needs, and zeros in it.
func hcl(report, runtime []byte, kind uint32) []byte {
	raw := make([]byte, 2048) // the most that the simulator takes
	copy(raw[32:], report)
	binary.LittleEndian.PutUint32(raw[1224:], kind)
	binary.LittleEndian.PutUint32(raw[1232:], uint32(len(runtime)))
	copy(raw[1236:], runtime)
	return raw
}

func thim(t *testing.T) string {
	t.Helper()
	raw, err := json.Marshal(map[string]string{
		"vcekCert":         string(inPEM(fakeAMD().Vcek.Raw)),
		"certificateChain": string(inPEM(fakeAMD().Ask.Raw)) + string(inPEM(fakeAMD().Ark.Raw)),
		"tcbm":             "730800000000000003",
		"cacheControl":     "86400",
	})
	require.NoError(t, err)
	return string(raw)
}
